// 6 frames x 4 strips, AVX-512 VNNI: 24 accumulators, and per group of 4 columns 4 registers of
// weights, each used for 6 frames. vpdpbusd adds four products of unsigned and signed bytes to an
// int32 without saturating.
#include <immintrin.h>

#include "activation_avx512.h"
#include "linear_int8.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress {
namespace {

constexpr size_t kTileFrames = 6;
constexpr size_t kTileStrips = 4;

__m512i broadcast_group(const uint8_t* codes) {
  int word = 0;
  __builtin_memcpy(&word, codes, sizeof word);
  return _mm512_set1_epi32(word);
}

template <int kFrames, int kStrips, Activation kind>
void tile(const LinearInt8Problem& p, size_t frame, size_t strip) {
  const uint8_t* codes = static_cast<const uint8_t*>(p.codes) + frame * p.codes_stride;
  const size_t stride = p.codes_stride;
  const size_t strip_bytes = p.groups * kGroupBytes;
  const int8_t* weights = p.weights + strip * strip_bytes;
  const size_t first = strip * kStripRows;

  __m512i sums[kFrames][kStrips];
  CONFPRESS_UNROLL
  for (int s = 0; s < kStrips; ++s) {
    const __m512i start = _mm512_loadu_si512(p.offsets + first + s * kStripRows);
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) sums[f][s] = start;
  }
  for (size_t group = 0; group < p.groups; ++group) {
    __m512i w[kStrips];
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) {
      w[s] = _mm512_loadu_si512(weights + s * strip_bytes + group * kGroupBytes);
    }
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      const __m512i x = broadcast_group(codes + f * stride + group * kGroupColumns);
      CONFPRESS_UNROLL
      for (int s = 0; s < kStrips; ++s) sums[f][s] = _mm512_dpbusd_epi32(sums[f][s], x, w[s]);
    }
  }
  CONFPRESS_UNROLL
  for (int s = 0; s < kStrips; ++s) {
    const size_t row = first + s * kStripRows;
    const __m512 row_scales = _mm512_loadu_ps(p.row_scales + row);
    const __m512 bias = _mm512_loadu_ps(p.bias + row);
    const size_t left = p.rows - row;
    const auto mask = static_cast<__mmask16>(left < kStripRows ? (1u << left) - 1 : 0xffffu);
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      const __m512 frame_scale = _mm512_set1_ps(p.frame_scales[frame + f]);
      const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[f][s]), frame_scale);
      const __m512 z = _mm512_add_ps(_mm512_mul_ps(product, row_scales), bias);
      _mm512_mask_storeu_ps(p.y + (frame + f) * p.rows + row, mask, avx512::activate<kind>(z));
    }
  }
}

template <int kStrips, Activation kind>
void frames_of_tile(const LinearInt8Problem& p, size_t count, size_t frame, size_t strip) {
  switch (count) {
    case 1:
      return tile<1, kStrips, kind>(p, frame, strip);
    case 2:
      return tile<2, kStrips, kind>(p, frame, strip);
    case 3:
      return tile<3, kStrips, kind>(p, frame, strip);
    case 4:
      return tile<4, kStrips, kind>(p, frame, strip);
    case 5:
      return tile<5, kStrips, kind>(p, frame, strip);
    default:
      return tile<6, kStrips, kind>(p, frame, strip);
  }
}

// Frames in nearly equal tiles: a last tile of one frame would use a sixth of the registers.
template <int kStrips, Activation kind>
void column_of_tiles(const LinearInt8Problem& p, Range frames, size_t strip) {
  const size_t count = frames.end - frames.begin;
  const size_t tiles = (count + kTileFrames - 1) / kTileFrames;
  for (size_t i = 0; i < tiles; ++i) {
    const size_t begin = frames.begin + count * i / tiles;
    const size_t end = frames.begin + count * (i + 1) / tiles;
    frames_of_tile<kStrips, kind>(p, end - begin, begin, strip);
  }
}

template <Activation kind>
void multiply_as(const LinearInt8Problem& p, Range frames, Range strips) {
  const size_t count = strips.end - strips.begin;
  const size_t tiles = (count + kTileStrips - 1) / kTileStrips;
  for (size_t i = 0; i < tiles; ++i) {
    const size_t begin = strips.begin + count * i / tiles;
    const size_t end = strips.begin + count * (i + 1) / tiles;
    switch (end - begin) {
      case 1:
        column_of_tiles<1, kind>(p, frames, begin);
        break;
      case 2:
        column_of_tiles<2, kind>(p, frames, begin);
        break;
      case 3:
        column_of_tiles<3, kind>(p, frames, begin);
        break;
      default:
        column_of_tiles<4, kind>(p, frames, begin);
        break;
    }
  }
}

void multiply(const LinearInt8Problem& p, Range frames, Range strips) noexcept {
  switch (p.activation) {
    case Activation::kNone:
      return multiply_as<Activation::kNone>(p, frames, strips);
    case Activation::kSilu:
      return multiply_as<Activation::kSilu>(p, frames, strips);
  }
}

}  // namespace

const LinearInt8Kernel kLinearInt8Avx512Vnni{&kFrameQuantizerAvx512Vnni, kTileFrames, kTileStrips,
                                             multiply};

}  // namespace confpress

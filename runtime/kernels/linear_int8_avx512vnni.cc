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

__mmask16 first_lanes(size_t count) {
  return static_cast<__mmask16>(count < kStripRows ? (1u << count) - 1 : 0xffffu);
}

// sums += four products a lane. Written as assembly because GCC 12 copies every accumulator around
// the intrinsic, which makes the kernel three times slower.
void add_products(__m512i& sums, __m512i codes, __m512i weights) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(codes), "v"(weights));
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
      for (int s = 0; s < kStrips; ++s) add_products(sums[f][s], x, w[s]);
    }
  }
  CONFPRESS_UNROLL
  for (int s = 0; s < kStrips; ++s) {
    const size_t row = first + s * kStripRows;
    const __m512 row_scales = _mm512_loadu_ps(p.row_scales + row);
    const __m512 bias = _mm512_loadu_ps(p.bias + row);
    const __mmask16 mask = first_lanes(p.rows - row);
    __m512 y[kFrames];
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      const __m512 frame_scale = _mm512_set1_ps(p.frame_scales[frame + f]);
      const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[f][s]), frame_scale);
      y[f] = _mm512_add_ps(_mm512_mul_ps(product, row_scales), bias);
    }
    avx512::activate<kind>(y);
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      _mm512_mask_storeu_ps(p.y + (frame + f) * p.rows + row, mask, y[f]);
    }
  }
}

template <int kStrips, Activation kind>
void column_of_tiles(const LinearInt8Problem& p, Range frames, size_t strip) {
  const Parts tiles = cut(frames, ceil_div(frames.end - frames.begin, kTileFrames));
  for (size_t i = 0; i < tiles.count; ++i) {
    const Range tile_frames = part(tiles, i);
    const size_t frame = tile_frames.begin;
    switch (tile_frames.end - frame) {
      case 1:
        tile<1, kStrips, kind>(p, frame, strip);
        break;
      case 2:
        tile<2, kStrips, kind>(p, frame, strip);
        break;
      case 3:
        tile<3, kStrips, kind>(p, frame, strip);
        break;
      case 4:
        tile<4, kStrips, kind>(p, frame, strip);
        break;
      case 5:
        tile<5, kStrips, kind>(p, frame, strip);
        break;
      default:
        tile<6, kStrips, kind>(p, frame, strip);
        break;
    }
  }
}

template <Activation kind>
void multiply_as(const LinearInt8Problem& p, Range frames, Range strips) {
  const Parts tiles = cut(strips, ceil_div(strips.end - strips.begin, kTileStrips));
  for (size_t i = 0; i < tiles.count; ++i) {
    const Range tile_strips = part(tiles, i);
    const size_t strip = tile_strips.begin;
    switch (tile_strips.end - strip) {
      case 1:
        column_of_tiles<1, kind>(p, frames, strip);
        break;
      case 2:
        column_of_tiles<2, kind>(p, frames, strip);
        break;
      case 3:
        column_of_tiles<3, kind>(p, frames, strip);
        break;
      default:
        column_of_tiles<4, kind>(p, frames, strip);
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

// 6 frames x 4 strips, AVX-512 VNNI: 24 accumulators, and per group of 4 columns 4 registers of
// weights, each used for 6 frames. vpdpbusd adds four products of unsigned and signed bytes to an
// int32 without saturating.
#include <immintrin.h>

#include "lanes_avx512.h"
#include "linear_epilogue.h"
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

// sums += four products a lane. Written as assembly because GCC 12 copies every accumulator around
// the intrinsic, which makes the kernel three times slower.
void add_products(__m512i& sums, __m512i codes, __m512i weights) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(codes), "v"(weights));
}

template <int kFrames, int kStrips>
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
  finish<avx512::Lanes>(p, sums, frame, first);
}

template <int kStrips>
void column_of_tiles(const LinearInt8Problem& p, Range frames, size_t strip) {
  const Parts tiles = cut(frames, ceil_div(frames.end - frames.begin, kTileFrames));
  for (size_t i = 0; i < tiles.count; ++i) {
    const Range tile_frames = part(tiles, i);
    const size_t frame = tile_frames.begin;
    switch (tile_frames.end - frame) {
      case 1:
        tile<1, kStrips>(p, frame, strip);
        break;
      case 2:
        tile<2, kStrips>(p, frame, strip);
        break;
      case 3:
        tile<3, kStrips>(p, frame, strip);
        break;
      case 4:
        tile<4, kStrips>(p, frame, strip);
        break;
      case 5:
        tile<5, kStrips>(p, frame, strip);
        break;
      default:
        tile<6, kStrips>(p, frame, strip);
        break;
    }
  }
}

void multiply(const LinearInt8Problem& p, Range frames, Range strips) noexcept {
  const Parts tiles = cut(strips, ceil_div(strips.end - strips.begin, kTileStrips));
  for (size_t i = 0; i < tiles.count; ++i) {
    const Range tile_strips = part(tiles, i);
    const size_t strip = tile_strips.begin;
    switch (tile_strips.end - strip) {
      case 1:
        column_of_tiles<1>(p, frames, strip);
        break;
      case 2:
        column_of_tiles<2>(p, frames, strip);
        break;
      case 3:
        column_of_tiles<3>(p, frames, strip);
        break;
      default:
        column_of_tiles<4>(p, frames, strip);
        break;
    }
  }
}

}  // namespace

const LinearInt8Kernel kLinearInt8Avx512Vnni{&kFrameQuantizerAvx512Vnni, kTileFrames, kTileStrips,
                                             multiply};

}  // namespace confpress

// Dense int8 weights times quantised frames with AVX-512 VNNI, for the `*_avx512vnni.cc` files:
// 6 frames x 4 strips of 16 rows, so 24 accumulators, and per group of 4 columns 4 registers of
// weights, each used for 6 frames. vpdpbusd adds four products of unsigned and signed bytes to an
// int32 without saturating.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "base/ranges.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")
#define CONFPRESS_INLINE [[gnu::always_inline]] static inline

namespace confpress::avx512 {

constexpr int kDenseTileFrames = 6;
constexpr int kDenseTileStrips = 4;
// Bytes of a strip's group: 16 rows of 4 columns.
constexpr size_t kDenseGroupBytes = 64;
// How far ahead a tile asks for weights, where it does.
constexpr size_t kBytesAhead = 512;

CONFPRESS_INLINE __m512i broadcast_group(const void* codes) {
  int word = 0;
  __builtin_memcpy(&word, codes, sizeof word);
  return _mm512_set1_epi32(word);
}

// sums += four products a lane. Written as assembly because GCC 12 copies every accumulator around
// the intrinsic, which makes the kernel three times slower.
CONFPRESS_INLINE void add_products(__m512i& sums, __m512i codes, __m512i weights) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(codes), "v"(weights));
}

// Adds the products of all groups of a tile's strips, `strip_bytes` from one to the next.
// `group_of(frame, group)` is where a frame's four codes are. With kAhead the weights are asked for
// before they are read, which pays where the first cache does not keep them from tile to tile.
template <bool kAhead, int kFrames, int kStrips, class GroupOf>
CONFPRESS_INLINE void add_groups(__m512i (&sums)[kFrames][kStrips], const int8_t* weights,
                                 size_t strip_bytes, size_t groups, const GroupOf& group_of) {
#pragma GCC unroll 2
  for (size_t group = 0; group < groups; ++group, weights += kDenseGroupBytes) {
    __m512i w[kStrips];
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) {
      w[s] = _mm512_loadu_si512(weights + s * strip_bytes);
      if (kAhead) {
        _mm_prefetch(reinterpret_cast<const char*>(weights + s * strip_bytes + kBytesAhead),
                     _MM_HINT_T0);
      }
    }
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      const __m512i x = broadcast_group(group_of(f, group));
      CONFPRESS_UNROLL
      for (int s = 0; s < kStrips; ++s) add_products(sums[f][s], x, w[s]);
    }
  }
}

// Tiles has tile<kFrames, kStrips>(p, frame, strip), which computes y for so many frames and
// strips.
template <class Tiles, int kFrames, int kStrips, class Problem>
void dense_tile(const Problem& p, size_t frames, size_t strips, size_t frame, size_t strip) {
  if constexpr (kFrames > 1) {
    if (frames < kFrames) {
      return dense_tile<Tiles, kFrames - 1, kStrips>(p, frames, strips, frame, strip);
    }
  }
  if constexpr (kStrips > 1) {
    if (strips < kStrips) {
      return dense_tile<Tiles, kFrames, kStrips - 1>(p, frames, strips, frame, strip);
    }
  }
  Tiles::template tile<kFrames, kStrips>(p, frame, strip);
}

template <class Tiles, class Problem>
void multiply_dense(const Problem& p, Range frames, Range strips) {
  const Parts columns = cut(strips, ceil_div(strips.end - strips.begin, kDenseTileStrips));
  const Parts rows = cut(frames, ceil_div(frames.end - frames.begin, kDenseTileFrames));
  for (size_t i = 0; i < columns.count; ++i) {
    const Range column = part(columns, i);
    for (size_t j = 0; j < rows.count; ++j) {
      const Range row = part(rows, j);
      dense_tile<Tiles, kDenseTileFrames, kDenseTileStrips>(
          p, row.end - row.begin, column.end - column.begin, row.begin, column.begin);
    }
  }
}

}  // namespace confpress::avx512

#undef CONFPRESS_INLINE
#undef CONFPRESS_UNROLL

// Dense int8 weights in registers of 32 bytes, for the `*_avx*.cc` files: some frames x 1 strip.
#pragma once

#include "lanes/lanes_avx2.h"
#include "linear/linear_int8.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress {

// Product is a type of the including file's own, as of sparse_tile_avx2.h; its codes are bytes.
template <class Product, int kMostFrames>
struct DenseAvx2Tiles {
  static constexpr int kTileFrames = kMostFrames;
  static constexpr size_t kLanes = avx2::Lanes::kWidth;
  static constexpr int kHalves = kStripRows / kLanes;  // registers of a strip

  // Adds to a tile's sums the products of a strip's groups, of which frame f has its four codes at
  // `codes_at(f, group)`.
  template <int kFrames, class CodesAt>
  [[gnu::always_inline]] static void add_groups(const int8_t* weights, size_t groups,
                                                const CodesAt& codes_at,
                                                __m256i (&sums)[kFrames][kHalves]) {
#pragma GCC unroll 2
    for (size_t group = 0; group < groups; ++group, weights += kGroupBytes) {
      const __m256i* of_group = reinterpret_cast<const __m256i*>(weights);
      const Product product[kHalves] = {Product(_mm256_loadu_si256(of_group)),
                                        Product(_mm256_loadu_si256(of_group + 1))};
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) {
        int word = 0;
        __builtin_memcpy(&word, codes_at(f, group), sizeof word);
        const __m256i x = _mm256_set1_epi32(word);
        CONFPRESS_UNROLL
        for (int h = 0; h < kHalves; ++h) product[h].add(sums[f][h], x);
      }
    }
  }

  // Tiles has tile<kFrames>(p, frame, strip), which computes y for so many frames and a strip.
  template <class Tiles, int kFrames, class Problem>
  static void tile_of(const Problem& p, Range frames, size_t strip) {
    if constexpr (kFrames > 1) {
      if (frames.end - frames.begin < kFrames) return tile_of<Tiles, kFrames - 1>(p, frames, strip);
    }
    Tiles::template tile<kFrames>(p, frames.begin, strip);
  }

  template <class Tiles, class Problem>
  static void multiply(const Problem& p, Range frames, Range strips) {
    const Parts tiles = cut(frames, ceil_div(frames.end - frames.begin, kTileFrames));
    for (size_t strip = strips.begin; strip < strips.end; ++strip) {
      for (size_t i = 0; i < tiles.count; ++i) {
        tile_of<Tiles, kTileFrames>(p, part(tiles, i), strip);
      }
    }
  }
};

}  // namespace confpress

#undef CONFPRESS_UNROLL

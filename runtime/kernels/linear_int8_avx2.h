// QuantLinear in registers of 32 bytes and codes of one byte, for the `*_avx*.cc` files.
#pragma once

#include "dense_tile_avx2.h"
#include "linear_epilogue.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress {

// Product is a type of the including file's own.
template <class Product, int kMostFrames>
struct LinearInt8Avx2Tiles {
  using Tiles = DenseAvx2Tiles<Product, kMostFrames>;
  static constexpr int kTileFrames = Tiles::kTileFrames;

  template <int kFrames>
  [[gnu::noinline]] static void tile(const LinearInt8Problem& p, size_t frame, size_t strip) {
    const size_t stride = p.codes_stride;
    const size_t row = strip * kStripRows;
    __m256i sums[kFrames][Tiles::kHalves];
    CONFPRESS_UNROLL
    for (int h = 0; h < Tiles::kHalves; ++h) {
      const __m256i offsets = avx2::Lanes::load_ints(p.offsets + row + h * Tiles::kLanes);
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) sums[f][h] = offsets;
    }
    const auto* codes = static_cast<const std::byte*>(p.codes) + frame * stride;
    Tiles::add_groups(
        p.weights + strip * p.groups * kGroupBytes, p.groups,
        [&](int f, size_t group)
            __attribute__((always_inline)) { return codes + f * stride + group * kGroupColumns; },
        sums);
    finish<avx2::Lanes>(p, sums, frame, row);
  }

  static void multiply(const LinearInt8Problem& p, Range frames, Range strips) noexcept {
    Tiles::template multiply<LinearInt8Avx2Tiles>(p, frames, strips);
  }
};

}  // namespace confpress

#undef CONFPRESS_UNROLL

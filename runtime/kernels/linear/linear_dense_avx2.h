// QuantLinear in registers of 32 bytes and codes of one byte, for the `*_avx*.cc` files.
#pragma once

#include "linear/dense_tile_avx2.h"
#include "linear/linear_epilogue.h"

namespace confpress {

// Product is a type of the including file's own.
template <class Product, int kMostFrames>
struct LinearDenseAvx2Tiles {
  using Tiles = DenseAvx2Tiles<Product, kMostFrames>;
  static constexpr int kTileFrames = Tiles::kTileFrames;

  template <int kFrames>
  [[gnu::noinline]] static void tile(const LinearInt8Problem& p, size_t frame, size_t strip) {
    const size_t stride = p.codes_stride;
    const size_t row = strip * kStripRows;
    __m256i sums[kFrames][Tiles::kHalves];
    start_sums<avx2::Lanes>(p.offsets + row, sums);
    const auto* codes = static_cast<const std::byte*>(p.codes) + frame * stride;
    Tiles::add_groups(
        p.weights + strip * p.groups * kGroupBytes, p.groups,
        [&](int f, size_t group)
            __attribute__((always_inline)) { return codes + f * stride + group * kGroupColumns; },
        sums);
    finish<avx2::Lanes>(p, sums, frame, row);
  }

  static void multiply(const LinearInt8Problem& p, Range frames, Range strips) noexcept {
    Tiles::template multiply<LinearDenseAvx2Tiles>(p, frames, strips);
  }
};

}  // namespace confpress

// SparseConv2d in registers of 32 bytes, for the `*_avx*.cc` files: 4 places x 1 strip.
#pragma once

#include "conv2d/conv2d_tile.h"
#include "conv2d/sparse_conv2d.h"
#include "lanes/lanes_avx2.h"
#include "sparse/sparse_tile_avx2.h"

namespace confpress {

// Product is a type of the including file's own.
template <class Product>
struct SparseConv2dAvx2Tiles {
  using Lanes = avx2::Lanes;
  using Sparse = SparseAvx2Tiles<Product>;
  static constexpr int kTilePlaces = Sparse::kTileFrames;

  template <SlotReach kReach, int kPlaces>
  [[gnu::noinline]] static void tile(const SparseConv2dProblem& p, size_t place, size_t strip) {
    compute_tile<Lanes, kPlaces, Sparse::kHalves>(
        p, place, strip * kConvStrip,
        [&](size_t tap, const auto& codes, auto& sums) __attribute__((always_inline)) {
          Sparse::template add_slots<kReach>(p.of_tap(tap), strip, CodesOfPieces{codes}, sums);
        });
  }

  static void multiply(const SparseConv2dProblem& p, Range places, Range strips) noexcept {
    Sparse::template multiply<SparseConv2dAvx2Tiles>(p.first_tap.reach, p, places, strips);
  }
};

}  // namespace confpress

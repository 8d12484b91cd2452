// SparseConv2d with AVX-512 VNNI, for the `*_avx512*.cc` files: tiles of 8 places x 2 strips. The
// float sums over the rows of the window wait in the first cache.
#pragma once

#include "conv2d/conv2d_tile.h"
#include "conv2d/sparse_conv2d.h"
#include "lanes/lanes_avx512.h"
#include "sparse/sparse_tile_avx512.h"

namespace confpress::avx512 {

struct PlaceTiles {
  template <class Slot, int kPlaces>
  [[gnu::noinline]] static void tile(const SparseConv2dProblem& p, size_t place, size_t strip) {
    compute_tile<Lanes, kPlaces, Slot::kStrips>(
        p, place, strip * kConvStrip,
        [&](size_t tap, const auto& codes, auto& sums) __attribute__((always_inline)) {
          add_slots<Slot>(p.of_tap(tap), strip, CodesOfPieces{codes}, sums);
        });
  }
};

}  // namespace confpress::avx512

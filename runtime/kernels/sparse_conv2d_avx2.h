// SparseConv2d in registers of 32 bytes, for the `*_avx*.cc` files: 4 places x 1 strip.
#pragma once

#include "conv2d_tile.h"
#include "lanes_avx2.h"
#include "sparse_conv2d.h"
#include "sparse_tile_avx2.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress {

// Product is a type of the including file's own.
template <class Product>
struct SparseConv2dAvx2Tiles {
  using Lanes = avx2::Lanes;
  using Sparse = SparseAvx2Tiles<Product>;
  static constexpr int kTilePlaces = Sparse::kTileFrames;

  template <SlotReach kReach, int kPlaces>
  [[gnu::noinline]] static void tile(const SparseConv2dProblem& p, size_t place, size_t strip) {
    const size_t channel = strip * kConvStrip;
    PlaceRows<kPlaces> places(p, place);
    ConvTotals<Lanes, kPlaces, Sparse::kHalves> totals;
    start_totals<Lanes>(p, channel, totals);
    for (size_t tap = 0; tap < p.window.time.taps; ++tap) {
      places.enter(tap);
      CodesOfPieces<kPlaces> codes;
      CONFPRESS_UNROLL
      for (int i = 0; i < kPlaces; ++i) codes.pieces[i] = held(places.codes(i));
      __m256i sums[kPlaces][Sparse::kHalves];
      start_sums<Lanes>(p, places, tap, channel, sums);
      Sparse::template add_slots<kReach>(p.of_tap(tap), strip, codes, sums);
      add_scaled<Lanes>(p, places, tap, channel, sums, totals);
    }
    store_totals<Lanes>(p, place, channel, totals);
  }

  static void multiply(const SparseConv2dProblem& p, Range places, Range strips) noexcept {
    Sparse::template multiply<SparseConv2dAvx2Tiles>(p.first_tap.reach, p, places, strips);
  }
};

}  // namespace confpress

#undef CONFPRESS_UNROLL

// SparseConv2d with AVX-512 VNNI, for the `*_avx512*.cc` files: tiles of 8 places x 2 strips. The
// float sums over the rows of the window wait in the first cache.
#pragma once

#include "conv2d_tile.h"
#include "lanes_avx512.h"
#include "sparse_conv2d.h"
#include "sparse_tile_avx512.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress::avx512 {

struct PlaceTiles {
  template <class Slot, int kPlaces>
  [[gnu::noinline]] static void tile(const SparseConv2dProblem& p, size_t place, size_t strip) {
    const size_t channel = strip * kConvStrip;
    PlaceRows<kPlaces> places(p, place);
    ConvTotals<Lanes, kPlaces, Slot::kStrips> totals;
    start_totals<Lanes>(p, channel, totals);
    for (size_t tap = 0; tap < p.window.time.taps; ++tap) {
      places.enter(tap);
      CodesOfPieces<kPlaces> codes;
      CONFPRESS_UNROLL
      for (int i = 0; i < kPlaces; ++i) codes.pieces[i] = held(places.codes(i));
      SparseTile<kPlaces, Slot::kStrips> t;
      start_sums<Lanes>(p, places, tap, channel, t.sums);
      add_slots<Slot>(t, p.of_tap(tap), strip, codes);
      add_scaled<Lanes>(p, places, tap, channel, t.sums, totals);
    }
    store_totals<Lanes>(p, place, channel, totals);
  }
};

}  // namespace confpress::avx512

#undef CONFPRESS_UNROLL

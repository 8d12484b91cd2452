// 4 places x 1 strip, AVX2.
#include "conv2d_tile.h"
#include "dense_tile_avx2.h"
#include "held.h"
#include "product_int7_avx2.h"
#include "quant_conv2d.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress {
namespace {

using avx2::Lanes;
using Dense = DenseAvx2Tiles<Int7Product, 4>;

struct PlaceTiles {
  template <int kPlaces>
  [[gnu::noinline]] static void tile(const QuantConv2dProblem& p, size_t place, size_t strip) {
    const size_t channel = strip * kConvStrip;
    PlaceRows<kPlaces> places(p, place);
    ConvTotals<Lanes, kPlaces, Dense::kHalves> totals;
    start_totals<Lanes>(p, channel, totals);
    for (size_t tap = 0; tap < p.window.time.taps; ++tap) {
      places.enter(tap);
      const std::byte* codes[kPlaces];
      CONFPRESS_UNROLL
      for (int i = 0; i < kPlaces; ++i) codes[i] = held(places.codes(i));
      __m256i sums[kPlaces][Dense::kHalves];
      start_sums<Lanes>(p, places, tap, channel, sums);
      Dense::add_groups(
          p.weights_at(tap, strip), p.groups_of_piece(),
          [&](int i, size_t group)
              __attribute__((always_inline)) { return codes[i] + group * kConvGroup; },
          sums);
      add_scaled<Lanes>(p, places, tap, channel, sums, totals);
    }
    store_totals<Lanes>(p, place, channel, totals);
  }
};

void multiply(const QuantConv2dProblem& p, Range places, Range strips) noexcept {
  Dense::multiply<PlaceTiles>(p, places, strips);
}

}  // namespace

const QuantConv2dKernel kQuantConv2dInt7Avx2{sizeof(uint8_t), Dense::kTileFrames, 1, multiply};

}  // namespace confpress

// The float sums over the rows of the window wait in the first cache.
#include "conv2d_tile.h"
#include "dense_tile_avx512.h"
#include "lanes_avx512.h"
#include "quant_conv2d.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress {
namespace {

using avx512::Lanes;

struct PlaceTiles {
  template <int kPlaces, int kStrips>
  [[gnu::noinline]] static void tile(const QuantConv2dProblem& p, size_t place, size_t strip) {
    const size_t channel = strip * kConvStrip;
    PlaceRows<kPlaces> places(p, place);
    ConvTotals<Lanes, kPlaces, kStrips> totals;
    start_totals<Lanes>(p, channel, totals);
    for (size_t tap = 0; tap < p.window.time.taps; ++tap) {
      places.enter(tap);
      __m512i sums[kPlaces][kStrips];
      start_sums<Lanes>(p, places, tap, channel, sums);
      const std::byte* codes[kPlaces];
      CONFPRESS_UNROLL
      for (int i = 0; i < kPlaces; ++i) codes[i] = places.codes(i);
      const size_t groups = p.groups_of_piece();
      avx512::add_groups<false>(sums, p.weights_at(tap, strip), groups * kConvGroupBytes, groups,
                                [&](int i, size_t group) __attribute__((always_inline)) {
                                  return codes[i] + group * kConvGroup;
                                });
      add_scaled<Lanes>(p, places, tap, channel, sums, totals);
    }
    store_totals<Lanes>(p, place, channel, totals);
  }
};

void multiply(const QuantConv2dProblem& p, Range places, Range strips) noexcept {
  avx512::multiply_dense<PlaceTiles>(p, places, strips);
}

}  // namespace

const QuantConv2dKernel kQuantConv2dAvx512Vnni{sizeof(uint8_t), avx512::kDenseTileFrames,
                                               avx512::kDenseTileStrips, multiply};

}  // namespace confpress

// The float sums over the rows of the window wait in the first cache.
#include "conv2d/conv2d_tile.h"
#include "conv2d/quant_conv2d.h"
#include "lanes/lanes_avx512.h"
#include "linear/dense_tile_avx512.h"

namespace confpress {
namespace {

struct PlaceTiles {
  template <int kPlaces, int kStrips>
  [[gnu::noinline]] static void tile(const QuantConv2dProblem& p, size_t place, size_t strip) {
    compute_tile<avx512::Lanes, kPlaces, kStrips>(
        p, place, strip * kConvStrip,
        [&](size_t tap, const auto& codes, auto& sums) __attribute__((always_inline)) {
          const auto group_of = [&](int i, size_t group) __attribute__((always_inline)) {
            return codes[i] + group * kConvGroup;
          };
          const size_t groups = p.groups_of_piece();
          avx512::add_groups<false>(sums, p.weights_at(tap, strip), groups * kConvGroupBytes,
                                    groups, group_of);
        });
  }
};

void multiply(const QuantConv2dProblem& p, Range places, Range strips) noexcept {
  avx512::multiply_dense<PlaceTiles>(p, places, strips);
}

}  // namespace

const QuantConv2dKernel kQuantConv2dAvx512Vnni{sizeof(uint8_t), avx512::kDenseTileFrames,
                                               avx512::kDenseTileStrips, multiply};

}  // namespace confpress

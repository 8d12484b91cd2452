// 4 places x 1 strip, AVX2.
#include "conv2d/conv2d_tile.h"
#include "conv2d/quant_conv2d.h"
#include "lanes/product_int7_avx2.h"
#include "linear/dense_tile_avx2.h"

namespace confpress {
namespace {

using Dense = DenseAvx2Tiles<Int7Product, 4>;

struct PlaceTiles {
  template <int kPlaces>
  [[gnu::noinline]] static void tile(const QuantConv2dProblem& p, size_t place, size_t strip) {
    compute_tile<avx2::Lanes, kPlaces, Dense::kHalves>(
        p, place, strip * kConvStrip,
        [&](size_t tap, const auto& codes, auto& sums) __attribute__((always_inline)) {
          const auto codes_at = [&](int i, size_t group) __attribute__((always_inline)) {
            return codes[i] + group * kConvGroup;
          };
          Dense::add_groups(p.weights_at(tap, strip), p.groups_of_piece(), codes_at, sums);
        });
  }
};

void multiply(const QuantConv2dProblem& p, Range places, Range strips) noexcept {
  Dense::multiply<PlaceTiles>(p, places, strips);
}

}  // namespace

const QuantConv2dKernel kQuantConv2dInt7Avx2{sizeof(uint8_t), Dense::kTileFrames, 1, multiply};

}  // namespace confpress

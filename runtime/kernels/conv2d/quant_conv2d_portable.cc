#include "conv2d/conv2d_portable.h"
#include "conv2d/quant_conv2d.h"

namespace confpress {
namespace {

void multiply(const QuantConv2dProblem& p, Range places, Range strips) noexcept {
  portable::each_place(
      p, places, strips, [&](size_t tap, size_t strip, const uint8_t* codes, int32_t* sums) {
        const int8_t* weights = p.weights_at(tap, strip);
        for (size_t group = 0; group < p.groups_of_piece(); ++group, codes += kConvGroup) {
          for (size_t i = 0; i < kConvStrip; ++i, weights += kConvGroup) {
            sums[i] += codes[0] * weights[0] + codes[1] * weights[1] + codes[2] * weights[2] +
                       codes[3] * weights[3];
          }
        }
      });
}

}  // namespace

const QuantConv2dKernel kQuantConv2dPortable{sizeof(uint8_t), 4, 1, multiply};

}  // namespace confpress

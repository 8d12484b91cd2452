// The product of a QuantConv2d: dense weights.
#pragma once

#include "conv2d/conv2d_problem.h"

namespace confpress {

constexpr size_t kConvGroup = 4;  // input channels
constexpr size_t kConvGroupBytes = kConvStrip * kConvGroup;
// Kernels may read so far behind the weights, and multiply that by zeros.
constexpr size_t kBytesBeyondWeights = 1024;

struct QuantConv2dProblem : Conv2dProblem {
  const int8_t* weights;  // [taps over time, strips, taps over columns, groups, 16, 4]
  size_t groups;

  // Groups of codes in a piece.
  [[gnu::always_inline]] size_t groups_of_piece() const { return window.columns.taps * groups; }
  // The weights of a strip at a tap over time.
  [[gnu::always_inline]] const int8_t* weights_at(size_t tap, size_t strip) const {
    return weights + (tap * strips + strip) * groups_of_piece() * kConvGroupBytes;
  }
};

using QuantConv2dKernel = Conv2dKernel<QuantConv2dProblem>;

extern const QuantConv2dKernel kQuantConv2dPortable;
extern const QuantConv2dKernel kQuantConv2dAvx2;
extern const QuantConv2dKernel kQuantConv2dInt7Avx2;  // of weights that fit_int7
extern const QuantConv2dKernel kQuantConv2dAvx512Vnni;
extern const QuantConv2dKernel kQuantConv2dAmx;

}  // namespace confpress

// Activations of convolutions on any Lanes.
#pragma once

#include "lanes/lanes_math.h"

namespace confpress {

enum class ConvActivation { kNone, kRelu, kSilu };

// What each adds to an operator's name.
constexpr const char* kConvActivationSuffixes[] = {"", "ReLU", "SiLU"};

template <class L>
static inline typename L::Vec activated(ConvActivation activation, typename L::Vec x) {
  switch (activation) {
    case ConvActivation::kNone:
      break;
    case ConvActivation::kRelu:
      // In this order NaN stays NaN.
      return L::max(L::zero(), x);
    case ConvActivation::kSilu:
      return L::mul(x, sigmoid_of<L>(x));
  }
  return x;
}

}  // namespace confpress

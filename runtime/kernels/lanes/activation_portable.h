// Activations of one float, for the `*_portable.cc` files and for GPUs: by the C library, so that
// they also are what the other paths are compared with.
#pragma once

#include <cmath>

#include "base/host_device.h"
#include "lanes/activation.h"

namespace confpress::portable {

static CONFPRESS_HOST_DEVICE float activate(Activation activation, float z) {
  switch (activation) {
    case Activation::kNone:
      break;
    case Activation::kSilu:
      return z / (1.0f + std::exp(-z));
    case Activation::kRelu:
      return z < 0.0f ? 0.0f : z;  // NaN stays NaN
    case Activation::kGelu:
      return z * 0.5f * std::erfc(z * -0.707106781f);
    case Activation::kGeluTanh:
      return z * 0.5f * (1.0f + std::tanh(0.797884561f * (z + 0.044715f * z * z * z)));
    case Activation::kSigmoid:
      return 1.0f / (1.0f + std::exp(-z));
  }
  return z;
}

}  // namespace confpress::portable

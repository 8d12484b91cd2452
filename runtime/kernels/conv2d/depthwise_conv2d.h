// Convolution of time rows with the channels last and filters in float32, where every output
// channel reads one input channel: all of them the only one, or each its own. Rows are float32, or
// uint8 codes of which each row has its own scale and zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "conv2d/conv2d_window.h"
#include "conv2d/conv_activation.h"

namespace confpress {

// Channels of a filter are padded to a multiple of this, the widest register.
constexpr size_t kConvLanes = 16;

// One utterance.
struct DepthwiseConv2dProblem {
  const float* x;              // [time, columns, channels_in], or null where there are
  const uint8_t* codes;        // of the same shape
  const float* scales;         // [time]
  const uint8_t* zero_points;  // [time]
  size_t time;
  size_t columns;
  size_t channels_in;  // 1 or `channels`; of codes `channels`
  Window window;
  const float* filters;  // [taps over time, taps over columns, width]
  const float* bias;     // [width]
  size_t channels;
  size_t width;  // channels up to a multiple of kConvLanes
  ConvActivation activation;
};

// Computes the row at a place of the window: y [places over columns, channels].
using DepthwiseConv2dRow = void (*)(const DepthwiseConv2dProblem&, size_t place, float* y) noexcept;

extern const DepthwiseConv2dRow kDepthwiseConv2dPortable;
extern const DepthwiseConv2dRow kDepthwiseConv2dAvx2;
extern const DepthwiseConv2dRow kDepthwiseConv2dAvx512Vnni;

}  // namespace confpress

// The middle of a convolution module for some channels: gate, mask, depthwise convolution over time
// and activation, frame by frame as the layers around it have them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/ranges.h"
#include "lanes/activation.h"

namespace confpress {

// Frames whose gated values are held at once, and how many a filter may reach over.
constexpr size_t kConvFrames = 256;
constexpr size_t kMostTaps = 256;

// One utterance.
struct ConvModuleProblem {
  const float* values;  // [frames, channels], rows `stride` apart
  const float* gates;   // [frames, channels], likewise
  size_t stride;
  size_t frames;
  const uint8_t* mask;   // of a frame at frame * mask_frame, not zero where it counts as zeros
  size_t mask_frame;     // 0 or 1; mask is null without one
  const float* filters;  // [strips, taps, width], strips of channels
  const float* bias;     // [strips, width]
  size_t taps;
  size_t before;  // frames of zeros that are put in front
  size_t channels;
  Activation activation;
  float* y;  // [frames out, channels]
};

// One instruction set's kernel.
struct ConvModuleKernel {
  size_t width;  // channels of a strip
  // Computes frames of one strip; at most kConvFrames.
  void (*convolve)(const ConvModuleProblem&, size_t strip, Range frames) noexcept;
};

extern const ConvModuleKernel kConvModulePortable;
extern const ConvModuleKernel kConvModuleAvx2;
extern const ConvModuleKernel kConvModuleAvx512Vnni;

}  // namespace confpress

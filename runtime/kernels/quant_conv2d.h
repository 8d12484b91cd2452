// The product of a QuantConv2d: uint8 codes of time rows, each row with its own scale and zero, and
// int8 weights with a scale for each output channel and each tap over time. One tap over time reads
// one row, so its products are summed in int32 and scaled once:
//
//   y = activation(bias + Σ_row float(Σ (code - zero) · w) · (row's scale · weights' scale))
//
// Nothing is copied into columns: a tile follows pointers to the codes at each place of the window,
// or, outside the row, to codes that are all zero points (the indirect convolution of Dukhan 2019).
#pragma once

#include <cstddef>
#include <cstdint>

#include "conv2d_window.h"
#include "conv_activation.h"

namespace confpress {

constexpr size_t kConvStrip = 16;  // output channels
constexpr size_t kConvGroup = 4;   // input channels
constexpr size_t kConvGroupBytes = kConvStrip * kConvGroup;
// Codes times weights of one tap over time stay below 2^31.
constexpr int64_t kMostRowProducts = 65536;

struct QuantConv2dProblem {
  const std::byte* codes;  // [batch, time, columns], `code_stride` bytes apart
  const std::byte* zeros;  // [batch · time + 1], likewise: each row's zero as codes; then code 0
  size_t code_stride;
  const float* scales;         // [batch · time]
  const uint8_t* zero_points;  // [batch · time]
  size_t rows;                 // batch · time
  size_t time;
  size_t columns;
  Window window;
  size_t places_time;
  size_t places_columns;
  const int8_t* weights;  // [taps over time, strips, taps over columns, groups, 16, 4]
  size_t groups;
  size_t strips;
  const int32_t* weight_sums;  // [taps over time, strips · 16], over all products of a row
  const float* weight_scales;  // likewise
  const float* bias;           // [strips · 16]
  size_t channels;
  ConvActivation activation;
  float* y;  // [batch, places over time, places over columns, channels]
};

// One instruction set's kernel: y at some places, counted through batch, time and columns, for some
// strips of output channels.
struct QuantConv2dKernel {
  size_t code_bytes;  // of a code that it reads
  size_t tile_places;
  size_t tile_strips;
  void (*multiply)(const QuantConv2dProblem&, Range places, Range strips) noexcept;
};

extern const QuantConv2dKernel kQuantConv2dPortable;
extern const QuantConv2dKernel kQuantConv2dAvx2;
extern const QuantConv2dKernel kQuantConv2dAvx512Vnni;

}  // namespace confpress

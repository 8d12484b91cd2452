// What convolutions of uint8 codes with int8 weights have in common. Each time row has its own
// scale and zero, the weights a scale for each output channel and each tap over time. One tap over
// time reads one row, so its products are summed in int32 and scaled once:
//
//   y = activation(bias + Σ_row float(Σ (code - zero) · w) · (row's scale · weights' scale))
//
// With the channels last, all that one tap over time reads at a place lies in one piece. Nothing is
// copied into columns: a tile follows pointers (as the indirect convolution of Dukhan 2019 does) to
// these pieces in the codes themselves. Only at the ends of a row, where a piece reaches beyond it,
// is it copied, with zero points for what is missing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "conv2d/conv2d_window.h"
#include "conv2d/conv_activation.h"

namespace confpress {

constexpr size_t kConvStrip = 16;  // output channels
// Codes times weights of one tap over time stay below 2^31.
constexpr int64_t kMostRowProducts = 65536;

struct Conv2dProblem {
  const std::byte* codes;  // [batch, time, columns], `code_stride` bytes apart
  size_t code_stride;
  const std::byte* ends;       // [batch · time, places at the ends, taps over columns], likewise
  size_t left;                 // places from 0 on whose pieces begin in front of the row
  size_t right;                // the first place after those whose piece ends behind it
  const std::byte* nothing;    // a piece of code 0
  const float* scales;         // [batch · time]
  const uint8_t* zero_points;  // [batch · time]
  size_t time;
  size_t columns;
  Window window;
  size_t places_time;
  size_t places_columns;
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
template <class Problem>
struct Conv2dKernel {
  size_t code_bytes;  // of a code that it reads
  size_t tile_places;
  size_t tile_strips;
  void (*multiply)(const Problem&, Range places, Range strips) noexcept;
};

}  // namespace confpress

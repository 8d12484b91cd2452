// What the operators of two-dimensional convolutions check alike.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/custom_op.h"
#include "conv2d/conv2d_window.h"

namespace confpress {

// Bounds that keep every product of sizes from overflowing.
constexpr int64_t kMostWindow = 64;
constexpr int64_t kMostConvChannels = 1 << 16;

// The attributes strides, [time, columns], and pads, [time in front, columns in front, time behind,
// columns behind], with the taps of W.
inline Window window_of(const char* op, const KernelInfo& info, int64_t time, int64_t columns) {
  const std::vector<int64_t> strides = info.ints("strides");
  const std::vector<int64_t> pads = info.ints("pads");
  const auto within = [](int64_t value, int64_t low, int64_t high) {
    return value >= low && value <= high;
  };
  if (strides.size() != 2 || !within(strides[0], 1, kMostWindow) ||
      !within(strides[1], 1, kMostWindow)) {
    throw Error(std::string(op) + "'s attribute strides is " + text_of(strides) +
                " where it must be two numbers from 1 to " + std::to_string(kMostWindow) + ".");
  }
  if (pads.size() != 4 || !within(pads[0], 0, time - 1) || !within(pads[2], 0, time - 1) ||
      !within(pads[1], 0, columns - 1) || !within(pads[3], 0, columns - 1)) {
    throw Error(std::string(op) + "'s attribute pads is " + text_of(pads) +
                " where it must be four numbers, each less than the taps of its axis.");
  }
  const auto axis = [&](int64_t taps, size_t index) {
    return WindowAxis{static_cast<size_t>(taps), static_cast<size_t>(strides[index]),
                      static_cast<size_t>(pads[index]), static_cast<size_t>(pads[index + 2])};
  };
  return {axis(time, 0), axis(columns, 1)};
}

// `what` gives the shape [channels, channels of a group, taps over time, taps over columns].
inline void require_filters(const char* op, const char* what, const std::vector<int64_t>& shape) {
  if (shape.size() != 4 || shape[0] < 1 || shape[0] > kMostConvChannels || shape[1] < 1 ||
      shape[1] > kMostConvChannels || shape[2] < 1 || shape[2] > kMostWindow || shape[3] < 1 ||
      shape[3] > kMostWindow) {
    throw Error(std::string(op) + "'s " + what + " has the shape " + text_of(shape) +
                " where it must be [channels, channels of a group, taps, taps] with up to " +
                std::to_string(kMostConvChannels) + " channels and " + std::to_string(kMostWindow) +
                " taps.");
  }
}

// X is [batch, time, columns, channels].
inline void require_rows(const char* op, const Tensor& x, const char* name, size_t channels) {
  if (x.shape.size() != 4 || x.shape[3] != static_cast<int64_t>(channels)) {
    throw Error(std::string(op) + "'s input " + name + " has the shape " + text_of(x.shape) +
                " where it must be [batch, time, columns, " + std::to_string(channels) + "].");
  }
}

}  // namespace confpress

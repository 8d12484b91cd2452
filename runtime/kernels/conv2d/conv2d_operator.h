// What the operators of convolutions of uint8 codes with int8 weights check, prepare and run alike.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/activated_operators.h"
#include "base/custom_op.h"
#include "base/task_grid.h"
#include "conv2d/conv2d_inputs.h"
#include "conv2d/conv2d_pieces.h"
#include "linear/linear_inputs.h"

namespace confpress {

// Inputs 0 to 2 are codes, scales and zeros of time rows.
class Conv2dOperator {
 protected:
  // A task multiplies this many tiles of places with one tile of strips.
  static constexpr size_t kTilesOfTask = 8;

  // `shape` is [channels, channels in, taps over time, taps over columns], which `what` gives.
  Conv2dOperator(const char* op, const KernelInfo& info, ConvActivation activation,
                 const char* what, const std::vector<int64_t>& shape, const Tensor& scales,
                 const Tensor& bias)
      : op_(op), activation_(activation) {
    require_filters(op, what, shape);
    if (shape[1] * shape[3] > kMostRowProducts) {
      throw Error(std::string(op) + "'s " + what + " has the shape " + text_of(shape) +
                  " with more than " + std::to_string(kMostRowProducts) +
                  " products of a row of the window.");
    }
    require(op, scales, "W_scales", ort::kFloat, {shape[0], shape[2]});
    require(op, bias, "bias", ort::kFloat, {shape[0]});
    window_ = window_of(op, info, shape[2], shape[3]);
    channels_ = static_cast<size_t>(shape[0]);
    channels_in_ = static_cast<size_t>(shape[1]);
    strips_ = ceil_div(channels_, kConvStrip);
    bias_ = padded(bias.as<float>(), channels_, strips_ * kConvStrip);
    const size_t taps = window_.time.taps;
    weight_sums_.assign(taps * strips_ * kConvStrip, 0);
    weight_scales_.assign(taps * strips_ * kConvStrip, 0.0f);
    for (size_t channel = 0; channel < channels_; ++channel) {
      for (size_t tap = 0; tap < taps; ++tap) {
        weight_scales_[tap * strips_ * kConvStrip + channel] =
            scales.as<float>()[channel * taps + tap];
      }
    }
  }

  // Every element of y is computed by one task in one order, so the number of threads does not
  // change a bit. `problem` holds the weights; those of a strip take `strip_bytes`.
  template <class Problem>
  void run(const KernelContext& context, const Conv2dKernel<Problem>& kernel,
           const PieceLayout& layout, Problem problem, size_t strip_bytes) const {
    const Tensor codes = context.input(0);
    const Tensor scales = context.input(1);
    const Tensor zeros = context.input(2);
    require_rows(op_, codes, "codes", channels_in_);
    const std::vector<int64_t> rows_shape{codes.shape[0], codes.shape[1]};
    require(op_, scales, "scales", ort::kFloat, rows_shape);
    require(op_, zeros, "zeros", ort::kUint8, rows_shape);
    problem.time = static_cast<size_t>(codes.shape[1]);
    problem.places_time = places_of(window_.time, problem.time);
    const size_t columns = places_of(window_.columns, static_cast<size_t>(codes.shape[2]));
    problem.y = context.output(0, {codes.shape[0], static_cast<int64_t>(problem.places_time),
                                   static_cast<int64_t>(columns), static_cast<int64_t>(channels_)});
    const size_t places = static_cast<size_t>(codes.shape[0]) * problem.places_time * columns;
    if (places == 0) return;

    problem.scales = scales.as<float>();
    problem.zero_points = zeros.as<uint8_t>();
    problem.window = window_;
    problem.strips = strips_;
    problem.weight_sums = weight_sums_.data();
    problem.weight_scales = weight_scales_.data();
    problem.bias = bias_.data();
    problem.channels = channels_;
    problem.activation = activation_;
    const PreparedCodes prepared(context, codes, problem.zero_points, window_, layout);
    prepared.fill(problem);
    const TaskGrid grid(places, kernel.tile_places * kTilesOfTask, strips_, kernel.tile_strips,
                        strip_bytes);
    context.parallel_for(grid.count(), [&](size_t task) noexcept {
      const auto [of_places, strips] = grid[task];
      kernel.multiply(problem, of_places, strips);
    });
  }

  const char* const op_;
  const ConvActivation activation_;
  Window window_{};
  size_t channels_ = 0;
  size_t channels_in_ = 0;
  size_t strips_ = 0;
  std::vector<int32_t> weight_sums_;
  std::vector<float> weight_scales_;
  std::vector<float> bias_;
};

// One operator of a family for every activation. Family has `static constexpr char kOp[]` and a
// constructor of KernelInfo and ConvActivation.
template <class Family, ConvActivation kActivation>
struct ActivatedConv : Family {
  static constexpr auto kText =
      joined(Family::kOp, kConvActivationSuffixes[static_cast<size_t>(kActivation)]);
  static constexpr const char* kName = kText.data();
  explicit ActivatedConv(const KernelInfo& info) : Family(info, kActivation) {}
};

// `const ActivatedConvEntries<Family> entries;` makes the library register the whole family.
template <class Family>
struct ActivatedConvEntries {
  const OperatorEntry entries[3] = {
      OperatorEntry(operator_of<ActivatedConv<Family, ConvActivation::kNone>>()),
      OperatorEntry(operator_of<ActivatedConv<Family, ConvActivation::kRelu>>()),
      OperatorEntry(operator_of<ActivatedConv<Family, ConvActivation::kSilu>>())};
};

}  // namespace confpress

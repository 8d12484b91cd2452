// QuantConv2d: convolution of uint8 rows with int8 weights; passes/quantconv2d.py defines it.
#include "quant_conv2d.h"

#include <algorithm>
#include <cstring>

#include "conv2d_inputs.h"
#include "cpu_path.h"
#include "custom_op.h"
#include "linear_inputs.h"
#include "task_grid.h"

namespace confpress {
namespace {

// A task multiplies this many tiles of places with one tile of strips.
constexpr size_t kTilesOfTask = 4;

const QuantConv2dKernel& kernel_of(CpuPath path) {
  switch (path) {
#if defined(CONFPRESS_HAS_AVX512VNNI)
    case CpuPath::kAvx512Vnni:
      return kQuantConv2dAvx512Vnni;
#endif
#if defined(CONFPRESS_HAS_AVX2)
    case CpuPath::kAvx2:
      return kQuantConv2dAvx2;
#endif
    default:
      return kQuantConv2dPortable;
  }
}

constexpr char kOp[] = "QuantConv2d";

// Codes as the kernel reads them: with whole groups of channels, and as wide.
void copy_codes(const uint8_t* from, size_t channels, size_t code_bytes, std::byte* to) {
  if (code_bytes == sizeof(uint8_t)) {
    std::memcpy(to, from, channels);
    return;
  }
  auto* wide = reinterpret_cast<int16_t*>(to);
  for (size_t i = 0; i < channels; ++i) wide[i] = from[i];
}

class QuantConv2dBase {
 public:
  static constexpr ort::ElementType kInputs[] = {ort::kUint8, ort::kFloat, ort::kUint8,
                                                 ort::kInt8,  ort::kFloat, ort::kFloat};

  QuantConv2dBase(const KernelInfo& info, ConvActivation activation)
      : kernel_(kernel_of(cpu_path_choice().chosen.path)), activation_(activation) {
    const Tensor weights = info.constant(3, "W");
    const Tensor scales = info.constant(4, "W_scales");
    const Tensor bias = info.constant(5, "bias");
    require_filters(kOp, weights);
    const int64_t outputs = weights.shape[0];
    const int64_t inputs = weights.shape[1];
    if (inputs * weights.shape[3] > kMostRowProducts) {
      throw Error(std::string(kOp) + "'s input W has the shape " + text_of(weights.shape) +
                  " with more than " + std::to_string(kMostRowProducts) +
                  " products of a row of the window.");
    }
    require(kOp, scales, "W_scales", ort::kFloat, {outputs, weights.shape[2]});
    require(kOp, bias, "bias", ort::kFloat, {outputs});
    window_ = window_of(kOp, info, weights.shape[2], weights.shape[3]);
    channels_ = static_cast<size_t>(outputs);
    channels_in_ = static_cast<size_t>(inputs);
    groups_ = ceil_div(channels_in_, kConvGroup);
    strips_ = ceil_div(channels_, kConvStrip);
    bias_ = padded(bias.as<float>(), channels_, strips_ * kConvStrip);
    pack(weights.as<int8_t>(), scales.as<float>());
  }

  void compute(KernelContext& context) const {
    const Tensor codes = context.input(0);
    const Tensor scales = context.input(1);
    const Tensor zeros = context.input(2);
    require_rows(kOp, codes, "codes", channels_in_);
    const std::vector<int64_t> rows_shape{codes.shape[0], codes.shape[1]};
    require(kOp, scales, "scales", ort::kFloat, rows_shape);
    require(kOp, zeros, "zeros", ort::kUint8, rows_shape);
    const size_t time = places_of(window_.time, static_cast<size_t>(codes.shape[1]));
    const size_t columns = places_of(window_.columns, static_cast<size_t>(codes.shape[2]));
    float* y = context.output(0, {codes.shape[0], static_cast<int64_t>(time),
                                  static_cast<int64_t>(columns), static_cast<int64_t>(channels_)});
    if (codes.shape[0] > 0 && time > 0 && columns > 0) {
      run(context, codes, scales.as<float>(), zeros.as<uint8_t>(), time, columns, y);
    }
  }

 private:
  // Weights in strips and groups, and what depends on them alone.
  void pack(const int8_t* weights, const float* scales) {
    const size_t taps = window_.time.taps;
    const size_t column_taps = window_.columns.taps;
    weights_.assign(taps * strips_ * column_taps * groups_ * kConvGroupBytes, 0);
    weight_sums_.assign(taps * strips_ * kConvStrip, 0);
    weight_scales_.assign(taps * strips_ * kConvStrip, 0.0f);
    for (size_t output = 0; output < channels_; ++output) {
      const size_t strip = output / kConvStrip;
      for (size_t tap = 0; tap < taps; ++tap) {
        const size_t at = tap * strips_ * kConvStrip + output;
        weight_scales_[at] = scales[output * taps + tap];
        for (size_t input = 0; input < channels_in_; ++input) {
          const int8_t* of_row =
              weights + ((output * channels_in_ + input) * taps + tap) * column_taps;
          for (size_t column = 0; column < column_taps; ++column) {
            const size_t group =
                ((tap * strips_ + strip) * column_taps + column) * groups_ + input / kConvGroup;
            weights_[group * kConvGroupBytes + output % kConvStrip * kConvGroup +
                     input % kConvGroup] = of_row[column];
            weight_sums_[at] += of_row[column];
          }
        }
      }
    }
  }

  // Every element of y is computed by one task in one order, so the number of threads does not
  // change a bit.
  void run(const KernelContext& context, const Tensor& codes, const float* scales,
           const uint8_t* zeros, size_t places_time, size_t places_columns, float* y) const {
    const auto time = static_cast<size_t>(codes.shape[1]);
    const auto columns = static_cast<size_t>(codes.shape[2]);
    const size_t rows = static_cast<size_t>(codes.shape[0]) * time;
    const bool copies = kernel_.code_bytes != sizeof(uint8_t) || channels_in_ % kConvGroup != 0;
    const size_t stride = groups_ * kConvGroup * kernel_.code_bytes;
    const KernelContext::Scratch scratch(context,
                                         (rows + 1 + (copies ? rows * columns : 0)) * stride);
    std::byte* zero_codes = scratch.data();
    std::byte* copied = zero_codes + (rows + 1) * stride;
    std::memset(zero_codes + rows * stride, 0, stride);
    context.parallel_for(rows, [&](size_t row) noexcept {
      prepare(zeros[row], zero_codes + row * stride);
      if (!copies) return;
      for (size_t place = row * columns; place < (row + 1) * columns; ++place) {
        std::memset(copied + place * stride, 0, stride);
        copy_codes(codes.as<uint8_t>() + place * channels_in_, channels_in_, kernel_.code_bytes,
                   copied + place * stride);
      }
    });
    const QuantConv2dProblem problem{
        copies ? copied : reinterpret_cast<const std::byte*>(codes.as<uint8_t>()),
        zero_codes,
        stride,
        scales,
        zeros,
        rows,
        time,
        columns,
        window_,
        places_time,
        places_columns,
        weights_.data(),
        groups_,
        strips_,
        weight_sums_.data(),
        weight_scales_.data(),
        bias_.data(),
        channels_,
        activation_,
        y,
    };
    const TaskGrid grid(static_cast<size_t>(codes.shape[0]) * places_time * places_columns,
                        kernel_.tile_places * kTilesOfTask, strips_, kernel_.tile_strips,
                        window_.time.taps * window_.columns.taps * groups_ * kConvGroupBytes);
    context.parallel_for(grid.count(), [&](size_t task) noexcept {
      const auto [places, strips] = grid[task];
      kernel_.multiply(problem, places, strips);
    });
  }

  // A row's zero as the codes of all channels.
  void prepare(uint8_t zero, std::byte* codes) const {
    const size_t count = groups_ * kConvGroup;
    if (kernel_.code_bytes == sizeof(uint8_t)) {
      std::memset(codes, zero, count);
    } else {
      std::fill_n(reinterpret_cast<int16_t*>(codes), count, int16_t{zero});
    }
  }

  const QuantConv2dKernel& kernel_;
  const ConvActivation activation_;
  Window window_{};
  size_t channels_ = 0;
  size_t channels_in_ = 0;
  size_t groups_ = 0;
  size_t strips_ = 0;
  std::vector<int8_t> weights_;
  std::vector<int32_t> weight_sums_;
  std::vector<float> weight_scales_;
  std::vector<float> bias_;
};

struct QuantConv2d : QuantConv2dBase {
  static constexpr const char* kName = "QuantConv2d";
  explicit QuantConv2d(const KernelInfo& info) : QuantConv2dBase(info, ConvActivation::kNone) {}
};
struct QuantConv2dRelu : QuantConv2dBase {
  static constexpr const char* kName = "QuantConv2dReLU";
  explicit QuantConv2dRelu(const KernelInfo& info) : QuantConv2dBase(info, ConvActivation::kRelu) {}
};
struct QuantConv2dSilu : QuantConv2dBase {
  static constexpr const char* kName = "QuantConv2dSiLU";
  explicit QuantConv2dSilu(const KernelInfo& info) : QuantConv2dBase(info, ConvActivation::kSilu) {}
};

const OperatorEntry entry{operator_of<QuantConv2d>()};
const OperatorEntry entry_relu{operator_of<QuantConv2dRelu>()};
const OperatorEntry entry_silu{operator_of<QuantConv2dSilu>()};

}  // namespace
}  // namespace confpress

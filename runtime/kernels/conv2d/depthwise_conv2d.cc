// DepthwiseConv2d and DepthwiseConv2dUint8: passes/operators/depthwiseconv2d.py defines them.
#include "conv2d/depthwise_conv2d.h"

#include <algorithm>

#include "base/aligned_vector.h"
#include "base/cpu_path.h"
#include "base/custom_op.h"
#include "conv2d/conv2d_inputs.h"
#include "frames/row_codes.h"
#include "linear/linear_inputs.h"

namespace confpress {
namespace {

// Rows of one task are computed one after the other in one row of floats, which stays in the cache.
// So many tasks serve many threads and need little memory.
constexpr size_t kTasks = 32;

struct Kernels {
  DepthwiseConv2dRow convolve;
  RowQuantizer quantize;
};

Kernels kernels() {
  if constexpr (built(CpuPath::kAvx512Vnni)) {
    if (uses(CpuPath::kAvx512Vnni)) return {kDepthwiseConv2dAvx512Vnni, quantize_row_avx512vnni};
  }
  if constexpr (built(CpuPath::kAvx2)) {
    if (uses(CpuPath::kAvx2)) return {kDepthwiseConv2dAvx2, quantize_row_avx2};
  }
  return {kDepthwiseConv2dPortable, quantize_row_portable};
}

constexpr char kOp[] = "DepthwiseConv2d";

// Of float32 rows, or of codes.
class DepthwiseConv2dBase {
 public:
  DepthwiseConv2dBase(const KernelInfo& info, ConvActivation activation, bool of_codes)
      : kernels_(kernels()), activation_(activation), of_codes_(of_codes) {
    const size_t first = of_codes ? 3 : 1;
    const Tensor filters = info.constant(first, "W");
    const Tensor bias = info.constant(first + 1, "bias");
    require_filters(kOp, "input W", filters.shape);
    if (filters.shape[1] != 1) {
      throw Error(std::string(kOp) + "'s input W has the shape " + text_of(filters.shape) +
                  " where each of its channels must read one channel of X.");
    }
    if (bias.shape != std::vector<int64_t>{filters.shape[0]}) {
      throw Error(std::string(kOp) + "'s input bias has the shape " + text_of(bias.shape) +
                  " where it must be [" + std::to_string(filters.shape[0]) + "].");
    }
    window_ = window_of(kOp, info, filters.shape[2], filters.shape[3]);
    channels_ = static_cast<size_t>(filters.shape[0]);
    width_ = ceil_div(channels_, kConvLanes) * kConvLanes;
    pack(filters.as<float>(), bias.as<float>());
  }

 protected:
  // One run: all utterances of the input, and the sizes of the output.
  struct Run {
    DepthwiseConv2dProblem problem;  // of the first utterance
    size_t batches;
    size_t time;                 // places of an utterance
    std::vector<int64_t> shape;  // [batch, time, columns, channels]

    size_t rows() const { return batches * time; }
    size_t row_length() const { return static_cast<size_t>(shape[2] * shape[3]); }
  };

  Run run_of(const KernelContext& context) const {
    const Tensor x = context.input(0);
    // All filters read the only channel, or each its own.
    const bool one_channel = !of_codes_ && x.shape.size() == 4 && x.shape[3] == 1;
    require_rows(kOp, x, of_codes_ ? "codes" : "X", one_channel ? 1 : channels_);
    Run run{};
    DepthwiseConv2dProblem& p = run.problem;
    if (of_codes_) {
      const Tensor scales = context.input(1);
      const Tensor zeros = context.input(2);
      const std::vector<int64_t> rows_shape{x.shape[0], x.shape[1]};
      require(kOp, scales, "scales", ort::kFloat, rows_shape);
      require(kOp, zeros, "zeros", ort::kUint8, rows_shape);
      p.codes = x.as<uint8_t>();
      p.scales = scales.as<float>();
      p.zero_points = zeros.as<uint8_t>();
    } else {
      p.x = x.as<float>();
    }
    p.time = static_cast<size_t>(x.shape[1]);
    p.columns = static_cast<size_t>(x.shape[2]);
    p.channels_in = static_cast<size_t>(x.shape[3]);
    p.window = window_;
    p.filters = filters_.data();
    p.bias = bias_.data();
    p.channels = channels_;
    p.width = width_;
    p.activation = activation_;
    run.batches = static_cast<size_t>(x.shape[0]);
    run.time = places_of(window_.time, p.time);
    run.shape = {x.shape[0], static_cast<int64_t>(run.time),
                 static_cast<int64_t>(places_of(window_.columns, p.columns)),
                 static_cast<int64_t>(channels_)};
    return run;
  }

  // Computes a row of the output, counted through all utterances.
  void convolve(const Run& run, size_t row, float* y) const {
    DepthwiseConv2dProblem problem = run.problem;
    const size_t rows_before = row / run.time * problem.time;
    const size_t numbers_before = rows_before * problem.columns * problem.channels_in;
    if (of_codes_) {
      problem.codes += numbers_before;
      problem.scales += rows_before;
      problem.zero_points += rows_before;
    } else {
      problem.x += numbers_before;
    }
    kernels_.convolve(problem, row % run.time, y);
  }

  void to_float(const KernelContext& context) const {
    const Run run = run_of(context);
    float* y = context.output(0, run.shape);
    context.parallel_for(
        run.rows(), [&](size_t row) noexcept { convolve(run, row, y + row * run.row_length()); });
  }

  void to_uint8(const KernelContext& context) const {
    const Run run = run_of(context);
    const std::vector<int64_t> rows_shape{run.shape[0], run.shape[1]};
    auto* codes = context.output<uint8_t>(0, run.shape);
    auto* scales = context.output<float>(1, rows_shape);
    auto* zeros = context.output<uint8_t>(2, rows_shape);
    if (run.rows() == 0) return;
    const size_t length = run.row_length();
    const size_t tasks = std::min(run.rows(), kTasks);
    const size_t stride = ceil_div(length, kConvLanes) * kConvLanes;
    const KernelContext::Scratch scratch(context, tasks * stride * sizeof(float));
    context.parallel_for(tasks, [&](size_t task) noexcept {
      auto* row = reinterpret_cast<float*>(scratch.data()) + task * stride;
      const Range range = part({0, run.rows()}, tasks, task);
      for (size_t i = range.begin; i < range.end; ++i) {
        convolve(run, i, row);
        kernels_.quantize(row, length, codes + i * length, scales + i, zeros + i);
      }
    });
  }

 private:
  // Filters tap by tap with the channels last.
  void pack(const float* filters, const float* bias) {
    const size_t taps = window_.time.taps * window_.columns.taps;
    filters_.assign(taps * width_, 0.0f);
    bias_.assign(width_, 0.0f);
    std::copy_n(bias, channels_, bias_.begin());
    for (size_t channel = 0; channel < channels_; ++channel) {
      for (size_t tap = 0; tap < taps; ++tap) {
        filters_[tap * width_ + channel] = filters[channel * taps + tap];
      }
    }
  }

  const Kernels kernels_;
  const ConvActivation activation_;
  const bool of_codes_;
  Window window_{};
  size_t channels_ = 0;
  size_t width_ = 0;
  AlignedVector<float> filters_;
  AlignedVector<float> bias_;
};

// By what is convolved, what comes out and the activation.
constexpr const char* kNames[2][2][3] = {
    {{"DepthwiseConv2d", "DepthwiseConv2dReLU", "DepthwiseConv2dSiLU"},
     {"DepthwiseConv2dUint8", "DepthwiseConv2dReLUUint8", "DepthwiseConv2dSiLUUint8"}},
    {{"Uint8DepthwiseConv2d", "Uint8DepthwiseConv2dReLU", "Uint8DepthwiseConv2dSiLU"},
     {"Uint8DepthwiseConv2dUint8", "Uint8DepthwiseConv2dReLUUint8",
      "Uint8DepthwiseConv2dSiLUUint8"}}};

template <bool kOfCodes>
struct Inputs {
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat};
};
template <>
struct Inputs<true> {
  static constexpr ort::ElementType kInputs[] = {ort::kUint8, ort::kFloat, ort::kUint8, ort::kFloat,
                                                 ort::kFloat};
};

template <bool kOfCodes, ConvActivation kActivation>
struct ToFloat : DepthwiseConv2dBase, Inputs<kOfCodes> {
  static constexpr const char* kName = kNames[kOfCodes][0][static_cast<size_t>(kActivation)];
  explicit ToFloat(const KernelInfo& info) : DepthwiseConv2dBase(info, kActivation, kOfCodes) {}
  void compute(KernelContext& context) const { to_float(context); }
};

template <bool kOfCodes, ConvActivation kActivation>
struct ToUint8 : DepthwiseConv2dBase, Inputs<kOfCodes> {
  static constexpr const char* kName = kNames[kOfCodes][1][static_cast<size_t>(kActivation)];
  static constexpr ort::ElementType kOutputs[] = {ort::kUint8, ort::kFloat, ort::kUint8};
  explicit ToUint8(const KernelInfo& info) : DepthwiseConv2dBase(info, kActivation, kOfCodes) {}
  void compute(KernelContext& context) const { to_uint8(context); }
};

template <ConvActivation kActivation>
struct Entries {
  const OperatorEntry entries[4] = {OperatorEntry(operator_of<ToFloat<false, kActivation>>()),
                                    OperatorEntry(operator_of<ToUint8<false, kActivation>>()),
                                    OperatorEntry(operator_of<ToFloat<true, kActivation>>()),
                                    OperatorEntry(operator_of<ToUint8<true, kActivation>>())};
};

const Entries<ConvActivation::kNone> entries;
const Entries<ConvActivation::kRelu> entries_relu;
const Entries<ConvActivation::kSilu> entries_silu;

}  // namespace
}  // namespace confpress

// DepthwiseConv2d and DepthwiseConv2dUint8: passes/operators/depthwiseconv2d.py defines them.
#include "depthwise_conv2d.h"

#include <algorithm>

#include "aligned_vector.h"
#include "conv2d_inputs.h"
#include "cpu_path.h"
#include "custom_op.h"
#include "row_codes.h"

namespace confpress {
namespace {

// Rows of one task are computed one after the other in one row of floats, which stays in the cache.
// So many tasks serve many threads and need little memory.
constexpr size_t kTasks = 32;

struct Kernels {
  DepthwiseConv2dRow convolve;
  RowQuantizer quantize;
};

Kernels kernels_of(CpuPath path) {
  switch (path) {
#if defined(CONFPRESS_HAS_AVX512VNNI)
    case CpuPath::kAvx512Vbmi:
    case CpuPath::kAvx512Vnni:
      return {kDepthwiseConv2dAvx512Vnni, quantize_row_avx512vnni};
#endif
#if defined(CONFPRESS_HAS_AVX2)
    case CpuPath::kAvxVnni:
    case CpuPath::kAvx2:
      return {kDepthwiseConv2dAvx2, quantize_row_avx2};
#endif
    default:
      return {kDepthwiseConv2dPortable, quantize_row_portable};
  }
}

constexpr char kOp[] = "DepthwiseConv2d";

class DepthwiseConv2dBase {
 public:
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat};

  DepthwiseConv2dBase(const KernelInfo& info, ConvActivation activation)
      : kernels_(kernels_of(cpu_path_choice().chosen.path)), activation_(activation) {
    const Tensor filters = info.constant(1, "W");
    const Tensor bias = info.constant(2, "bias");
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
  // The sizes of an output.
  struct Sizes {
    size_t batches;
    size_t time;
    size_t columns;
    std::vector<int64_t> shape;  // [batch, time, columns, channels]
  };

  Sizes sizes_of(const Tensor& x) const {
    // All filters read the only channel, or each its own.
    const bool one_channel = x.shape.size() == 4 && x.shape[3] == 1;
    require_rows(kOp, x, "X", one_channel ? 1 : channels_);
    const size_t time = places_of(window_.time, static_cast<size_t>(x.shape[1]));
    const size_t columns = places_of(window_.columns, static_cast<size_t>(x.shape[2]));
    return {static_cast<size_t>(x.shape[0]),
            time,
            columns,
            {x.shape[0], static_cast<int64_t>(time), static_cast<int64_t>(columns),
             static_cast<int64_t>(channels_)}};
  }

  void convolve(const Tensor& x, size_t batch, size_t place, float* y) const {
    const auto time = static_cast<size_t>(x.shape[1]);
    const auto columns = static_cast<size_t>(x.shape[2]);
    const auto channels_in = static_cast<size_t>(x.shape[3]);
    const DepthwiseConv2dProblem problem{
        x.as<float>() + batch * time * columns * channels_in,
        time,
        columns,
        channels_in,
        window_,
        filters_.data(),
        bias_.data(),
        channels_,
        width_,
        activation_,
    };
    kernels_.convolve(problem, place, y);
  }

  const Kernels kernels_;

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

  const ConvActivation activation_;
  Window window_{};
  size_t channels_ = 0;
  size_t width_ = 0;
  AlignedVector<float> filters_;
  AlignedVector<float> bias_;
};

template <ConvActivation kActivation>
class ToFloat : public DepthwiseConv2dBase {
 public:
  explicit ToFloat(const KernelInfo& info) : DepthwiseConv2dBase(info, kActivation) {}

  void compute(KernelContext& context) const {
    const Tensor x = context.input(0);
    const Sizes sizes = sizes_of(x);
    float* y = context.output(0, sizes.shape);
    const size_t length = static_cast<size_t>(sizes.shape[2] * sizes.shape[3]);
    context.parallel_for(sizes.batches * sizes.time, [&](size_t row) noexcept {
      convolve(x, row / sizes.time, row % sizes.time, y + row * length);
    });
  }
};

template <ConvActivation kActivation>
class ToUint8 : public DepthwiseConv2dBase {
 public:
  static constexpr ort::ElementType kOutputs[] = {ort::kUint8, ort::kFloat, ort::kUint8};

  explicit ToUint8(const KernelInfo& info) : DepthwiseConv2dBase(info, kActivation) {}

  void compute(KernelContext& context) const {
    const Tensor x = context.input(0);
    const Sizes sizes = sizes_of(x);
    const std::vector<int64_t> rows_shape{sizes.shape[0], sizes.shape[1]};
    auto* codes = context.output<uint8_t>(0, sizes.shape);
    auto* scales = context.output<float>(1, rows_shape);
    auto* zeros = context.output<uint8_t>(2, rows_shape);
    const size_t rows = sizes.batches * sizes.time;
    if (rows == 0) return;
    const size_t length = static_cast<size_t>(sizes.shape[2] * sizes.shape[3]);
    const size_t tasks = std::min(rows, kTasks);
    const size_t stride = ceil_div(length, kConvLanes) * kConvLanes;
    const KernelContext::Scratch scratch(context, tasks * stride * sizeof(float));
    context.parallel_for(tasks, [&](size_t task) noexcept {
      auto* row = reinterpret_cast<float*>(scratch.data()) + task * stride;
      const Range range = part({0, rows}, tasks, task);
      for (size_t i = range.begin; i < range.end; ++i) {
        convolve(x, i / sizes.time, i % sizes.time, row);
        kernels_.quantize(row, length, codes + i * length, scales + i, zeros + i);
      }
    });
  }
};

struct Conv2d : ToFloat<ConvActivation::kNone> {
  static constexpr const char* kName = "DepthwiseConv2d";
  using ToFloat::ToFloat;
};
struct Conv2dRelu : ToFloat<ConvActivation::kRelu> {
  static constexpr const char* kName = "DepthwiseConv2dReLU";
  using ToFloat::ToFloat;
};
struct Conv2dSilu : ToFloat<ConvActivation::kSilu> {
  static constexpr const char* kName = "DepthwiseConv2dSiLU";
  using ToFloat::ToFloat;
};
struct Conv2dUint8 : ToUint8<ConvActivation::kNone> {
  static constexpr const char* kName = "DepthwiseConv2dUint8";
  using ToUint8::ToUint8;
};
struct Conv2dReluUint8 : ToUint8<ConvActivation::kRelu> {
  static constexpr const char* kName = "DepthwiseConv2dReLUUint8";
  using ToUint8::ToUint8;
};
struct Conv2dSiluUint8 : ToUint8<ConvActivation::kSilu> {
  static constexpr const char* kName = "DepthwiseConv2dSiLUUint8";
  using ToUint8::ToUint8;
};

const OperatorEntry entry{operator_of<Conv2d>()};
const OperatorEntry entry_relu{operator_of<Conv2dRelu>()};
const OperatorEntry entry_silu{operator_of<Conv2dSilu>()};
const OperatorEntry entry_uint8{operator_of<Conv2dUint8>()};
const OperatorEntry entry_relu_uint8{operator_of<Conv2dReluUint8>()};
const OperatorEntry entry_silu_uint8{operator_of<Conv2dSiluUint8>()};

}  // namespace
}  // namespace confpress

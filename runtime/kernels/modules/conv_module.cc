// ConvModule: GLU, mask, depthwise convolution and activation; passes/operators/convmodule.py
// defines it.
#include "modules/conv_module.h"

#include <algorithm>

#include "base/cpu_path.h"
#include "base/custom_op.h"

namespace confpress {
namespace {

const ConvModuleKernel& kernel() {
  if constexpr (built(CpuPath::kAvx512Vnni)) {
    if (uses(CpuPath::kAvx512Vnni)) return kConvModuleAvx512Vnni;
  }
  if constexpr (built(CpuPath::kAvx2)) {
    if (uses(CpuPath::kAvx2)) return kConvModuleAvx2;
  }
  return kConvModulePortable;
}

// Two sizes; the bound keeps sums of them from overflowing.
bool is_pair(const std::vector<int64_t>& sizes) {
  return sizes.size() == 2 && std::all_of(sizes.begin(), sizes.end(), [](int64_t size) {
           return size >= 0 && size <= INT32_MAX;
         });
}

class ConvModuleBase {
 public:
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat, ort::kBool};

  ConvModuleBase(const KernelInfo& info, Activation activation)
      : kernel_(kernel()), activation_(activation) {
    const Tensor filters = info.constant(1, "W");
    const Tensor bias = info.constant(2, "bias");
    if (filters.shape.size() != 3 || filters.shape[0] < 1 || filters.shape[1] != 1 ||
        filters.shape[2] < 1 || filters.shape[2] > static_cast<int64_t>(kMostTaps)) {
      throw Error("ConvModule's input W has the shape " + text_of(filters.shape) +
                  " where it must be [channels, 1, taps] with 1 to " + std::to_string(kMostTaps) +
                  " taps.");
    }
    channels_ = static_cast<size_t>(filters.shape[0]);
    taps_ = static_cast<size_t>(filters.shape[2]);
    if (bias.shape != std::vector<int64_t>{filters.shape[0]}) {
      throw Error("ConvModule's input bias has the shape " + text_of(bias.shape) +
                  " where it must be [" + std::to_string(channels_) + "].");
    }
    const std::vector<int64_t> pads = info.ints("pads");
    if (!is_pair(pads)) {
      throw Error("ConvModule's attribute pads is " + text_of(pads) +
                  " where it must be the frames in front and behind.");
    }
    before_ = static_cast<size_t>(pads[0]);
    after_ = static_cast<size_t>(pads[1]);
    const std::vector<int64_t> columns = info.ints("columns");
    if (!is_pair(columns)) {
      throw Error("ConvModule's attribute columns is " + text_of(columns) +
                  " where it must be the first columns of values and gates.");
    }
    value_column_ = static_cast<size_t>(columns[0]);
    gate_column_ = static_cast<size_t>(columns[1]);
    pack(filters.as<float>(), bias.as<float>());
  }

  void compute(KernelContext& context) const {
    const Tensor x = context.input(0);
    const size_t width = std::max(value_column_, gate_column_) + channels_;
    if (x.shape.size() != 3 || x.shape[2] < static_cast<int64_t>(width)) {
      throw Error("ConvModule's input X has the shape " + text_of(x.shape) +
                  " where it must be [batch, frames, " + std::to_string(width) + " or more].");
    }
    const auto batches = static_cast<size_t>(x.shape[0]);
    const auto frames = static_cast<size_t>(x.shape[1]);
    const Tensor mask = context.input(3);
    if (mask.shape.size() != 3 || mask.shape[1] != 1 ||
        (mask.shape[0] != 1 && mask.shape[0] != x.shape[0]) ||
        (mask.shape[2] != 1 && mask.shape[2] != x.shape[1])) {
      throw Error("ConvModule's input mask has the shape " + text_of(mask.shape) +
                  " which does not broadcast to [" + std::to_string(batches) + ", 1, " +
                  std::to_string(frames) + "].");
    }
    const size_t padded = before_ + frames + after_;
    const size_t frames_out = padded < taps_ ? 0 : padded - taps_ + 1;
    float* y = context.output(
        0, {x.shape[0], static_cast<int64_t>(frames_out), static_cast<int64_t>(channels_)});
    if (batches * frames_out > 0) run(context, x, mask, frames_out, y);
  }

 private:
  // Filters tap by tap for strips of channels.
  void pack(const float* filters, const float* bias) {
    const size_t width = kernel_.width;
    const size_t strips = ceil_div(channels_, width);
    filters_.assign(strips * taps_ * width, 0.0f);
    bias_.assign(strips * width, 0.0f);
    std::copy_n(bias, channels_, bias_.begin());
    for (size_t channel = 0; channel < channels_; ++channel) {
      for (size_t tap = 0; tap < taps_; ++tap) {
        filters_[(channel / width * taps_ + tap) * width + channel % width] =
            filters[channel * taps_ + tap];
      }
    }
  }

  // Every element of y is computed by one task in one order.
  void run(const KernelContext& context, const Tensor& x, const Tensor& mask, size_t frames_out,
           float* y) const {
    const auto batches = static_cast<size_t>(x.shape[0]);
    const auto frames = static_cast<size_t>(x.shape[1]);
    const auto stride = static_cast<size_t>(x.shape[2]);
    const size_t mask_frame = mask.shape[2] == 1 ? 0 : 1;
    const size_t mask_batch = mask.shape[0] == 1 ? 0 : static_cast<size_t>(mask.shape[2]);
    const auto* masked = mask.as<uint8_t>();
    if (mask.shape[0] == 1 && mask.shape[2] == 1 && *masked == 0) masked = nullptr;
    const size_t strips = ceil_div(channels_, kernel_.width);
    const size_t blocks = ceil_div(frames_out, kConvFrames);
    context.parallel_for(batches * blocks * strips, [&](size_t task) noexcept {
      const size_t strip = task % strips;
      const size_t block = task / strips % blocks;
      const size_t batch = task / strips / blocks;
      const float* rows = x.as<float>() + batch * frames * stride;
      const ConvModuleProblem problem{
          rows + value_column_,
          rows + gate_column_,
          stride,
          frames,
          masked == nullptr ? nullptr : masked + batch * mask_batch,
          mask_frame,
          filters_.data(),
          bias_.data(),
          taps_,
          before_,
          channels_,
          activation_,
          y + batch * frames_out * channels_,
      };
      kernel_.convolve(problem, strip, part({0, frames_out}, blocks, block));
    });
  }

  const ConvModuleKernel& kernel_;
  const Activation activation_;
  size_t channels_ = 0;
  size_t taps_ = 0;
  size_t before_ = 0;
  size_t after_ = 0;
  size_t value_column_ = 0;
  size_t gate_column_ = 0;
  std::vector<float> filters_;
  std::vector<float> bias_;
};

struct ConvModule : ConvModuleBase {
  static constexpr const char* kName = "ConvModule";
  explicit ConvModule(const KernelInfo& info) : ConvModuleBase(info, Activation::kNone) {}
};

struct ConvModuleSilu : ConvModuleBase {
  static constexpr const char* kName = "ConvModuleSiLU";
  explicit ConvModuleSilu(const KernelInfo& info) : ConvModuleBase(info, Activation::kSilu) {}
};

const OperatorEntry entry{operator_of<ConvModule>()};
const OperatorEntry entry_silu{operator_of<ConvModuleSilu>()};

}  // namespace
}  // namespace confpress

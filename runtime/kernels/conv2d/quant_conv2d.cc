// QuantConv2d: convolution of uint8 rows with int8 weights; passes/operators/quantconv2d.py defines
// it.
#include "conv2d/quant_conv2d.h"

#include "base/aligned_vector.h"
#include "base/cpu_path.h"
#include "conv2d/conv2d_operator.h"
#include "linear/int7_weights.h"

namespace confpress {
namespace {

const QuantConv2dKernel& kernel(const AlignedVector<int8_t>& weights) {
  if constexpr (built(CpuPath::kAmx)) {
    if (uses(CpuPath::kAmx)) return kQuantConv2dAmx;
  }
  if constexpr (built(CpuPath::kAvx512Vnni)) {
    if (uses(CpuPath::kAvx512Vnni)) return kQuantConv2dAvx512Vnni;
  }
  if constexpr (built(CpuPath::kAvx2)) {
    if (uses(CpuPath::kAvx2))
      return fit_int7(weights.data(), weights.size()) ? kQuantConv2dInt7Avx2 : kQuantConv2dAvx2;
  }
  return kQuantConv2dPortable;
}

class QuantConv2d : Conv2dOperator {
 public:
  static constexpr char kOp[] = "QuantConv2d";
  static constexpr ort::ElementType kInputs[] = {ort::kUint8, ort::kFloat, ort::kUint8,
                                                 ort::kInt8,  ort::kFloat, ort::kFloat};

  QuantConv2d(const KernelInfo& info, ConvActivation activation)
      : Conv2dOperator(kOp, info, activation, "input W", info.constant(3, "W").shape,
                       info.constant(4, "W_scales"), info.constant(5, "bias")),
        groups_(ceil_div(channels_in_, kConvGroup)) {
    pack(info.constant(3, "W").as<int8_t>());
    kernel_ = &kernel(weights_);
  }

  void compute(KernelContext& context) const {
    QuantConv2dProblem problem{};
    problem.weights = weights_.data();
    problem.groups = groups_;
    run(context, *kernel_, {groups_ * kConvGroup, kernel_->code_bytes, 0}, problem,
        window_.time.taps * window_.columns.taps * groups_ * kConvGroupBytes);
  }

 private:
  // Weights in strips and groups, and their sums.
  void pack(const int8_t* weights) {
    const size_t taps = window_.time.taps;
    const size_t column_taps = window_.columns.taps;
    weights_.assign(taps * strips_ * column_taps * groups_ * kConvGroupBytes + kBytesBeyondWeights,
                    0);
    for (size_t output = 0; output < channels_; ++output) {
      const size_t strip = output / kConvStrip;
      for (size_t tap = 0; tap < taps; ++tap) {
        for (size_t input = 0; input < channels_in_; ++input) {
          const int8_t* of_row =
              weights + ((output * channels_in_ + input) * taps + tap) * column_taps;
          for (size_t column = 0; column < column_taps; ++column) {
            const size_t group =
                ((tap * strips_ + strip) * column_taps + column) * groups_ + input / kConvGroup;
            weights_[group * kConvGroupBytes + output % kConvStrip * kConvGroup +
                     input % kConvGroup] = of_row[column];
            weight_sums_[tap * strips_ * kConvStrip + output] += of_row[column];
          }
        }
      }
    }
  }

  const QuantConv2dKernel* kernel_ = nullptr;
  const size_t groups_;
  AlignedVector<int8_t> weights_;
};

const ActivatedConvEntries<QuantConv2d> entries;

}  // namespace
}  // namespace confpress

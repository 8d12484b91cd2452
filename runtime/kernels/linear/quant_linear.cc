// QuantLinear: Y = activation(X Wᵀ + b), int8 weights and activations;
// passes/operators/quantlinear.py defines it and draws its layout.
#include <algorithm>

#include "base/activated_operators.h"
#include "base/cpu_path.h"
#include "base/custom_op.h"
#include "base/task_grid.h"
#include "frames/quantized_frames.h"
#include "linear/dense_int8_layer.h"
#include "linear/int7_weights.h"

namespace confpress {
namespace {

const LinearInt8Kernel& kernel(const int8_t* weights, size_t size) {
  if constexpr (built(CpuPath::kAmx)) {
    if (uses(CpuPath::kAmx)) return kLinearInt8Amx;
  }
  if constexpr (built(CpuPath::kAvx512Vnni)) {
    if (uses(CpuPath::kAvx512Vnni)) return kLinearInt8Avx512Vnni;
  }
  if constexpr (built(CpuPath::kAvxVnni)) {
    if (uses(CpuPath::kAvxVnni)) return kLinearInt8AvxVnni;
  }
  if constexpr (built(CpuPath::kAvx2)) {
    if (uses(CpuPath::kAvx2)) return fit_int7(weights, size) ? kLinearInt7Avx2 : kLinearInt8Avx2;
  }
  if constexpr (built(CpuPath::kNeonDot)) {
    if (uses(CpuPath::kNeonDot)) return kLinearInt8NeonDot;
  }
  return kLinearInt8Portable;
}

class QuantLinear {
 public:
  static constexpr char kOp[] = "QuantLinear";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kInt8, ort::kFloat, ort::kFloat};

  QuantLinear(const KernelInfo& info, Activation activation)
      : activation_(activation),
        layer_(kOp, info),
        kernel_(kernel(layer_.weights, layer_.strips * layer_.groups * kGroupBytes)),
        scales_(padded(layer_.scales, layer_.rows, layer_.strips * kStripRows)),
        bias_(padded(layer_.bias, layer_.rows, layer_.strips * kStripRows)),
        offsets_(offsets()) {}

  void compute(KernelContext& context) const {
    const Frames frames = frames_of(kOp, context, layer_.columns, layer_.rows);
    if (frames.count > 0) run(context, frames.x, frames.count, frames.y);
  }

 private:
  // What the kernels' stored codes add by their zero point, taken off again.
  std::vector<int32_t> offsets() const {
    std::vector<int32_t> values(layer_.strips * kStripRows, 0);
    const int8_t* w = layer_.weights;
    for (size_t strip = 0; strip < layer_.strips; ++strip) {
      for (size_t group = 0; group < layer_.groups; ++group) {
        for (size_t row = 0; row < kStripRows; ++row, w += kGroupColumns) {
          values[strip * kStripRows + row] -=
              kernel_.quantizer->zero_point * (w[0] + w[1] + w[2] + w[3]);
        }
      }
    }
    return values;
  }

  // Quantises all frames, then multiplies. Every element of y is computed by one task in one order
  // of integer additions, so the number of threads does not change a bit.
  void run(const KernelContext& context, const float* x, size_t frames, float* y) const {
    const QuantizedFrames quantized(context, *kernel_.quantizer, x, frames, layer_.columns);
    const LinearInt8Problem problem{quantized.codes(),
                                    quantized.codes_stride(),
                                    quantized.scales(),
                                    layer_.weights,
                                    layer_.groups,
                                    offsets_.data(),
                                    scales_.data(),
                                    bias_.data(),
                                    y,
                                    layer_.rows,
                                    activation_};
    const TaskGrid grid(frames, kernel_.task_frames, layer_.strips, kernel_.task_strips,
                        layer_.groups * kGroupBytes);
    context.parallel_for(grid.count(), [&](size_t task) noexcept {
      const auto [frame_range, strip_range] = grid[task];
      kernel_.multiply(problem, frame_range, strip_range);
    });
  }

  const Activation activation_;
  const DenseInt8Layer layer_;
  const LinearInt8Kernel& kernel_;
  const std::vector<float> scales_;
  const std::vector<float> bias_;
  const std::vector<int32_t> offsets_;
};

const ActivatedEntries<QuantLinear> entries;

}  // namespace
}  // namespace confpress

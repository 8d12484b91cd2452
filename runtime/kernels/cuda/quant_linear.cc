// QuantLinear for the CUDA provider; passes/operators/quantlinear.py defines it.
#include "base/activated_operators.h"
#include "cuda/on_gpu.h"
#include "linear/dense_int8_layer.h"

namespace confpress::cuda {
namespace {

class QuantLinear {
 public:
  static constexpr char kOp[] = "QuantLinear";
  static constexpr const char* kProvider = kProviderName;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kInt8, ort::kFloat, ort::kFloat};

  QuantLinear(const KernelInfo& info, Activation activation)
      : layer_(kOp, info), activation_(activation) {}

  void compute(KernelContext& context) const {
    const Frames frames = frames_of(kOp, context, layer_.columns, layer_.rows);
    if (frames.count == 0) return;
    const int groups = static_cast<int>(layer_.groups);
    const Shape shape{static_cast<int64_t>(frames.count), static_cast<int>(layer_.rows), groups,
                      static_cast<int>(ceil_div(groups, kColumns))};
    // Initializers begin at multiples of 256 bytes, so four bytes can be read at once.
    const DenseInt8::Problem problem{shape,
                                     static_cast<int>(layer_.columns),
                                     frames.x,
                                     reinterpret_cast<const uint32_t*>(layer_.weights),
                                     {layer_.scales, layer_.bias, frames.y, activation_}};
    check(kOp, launch<DenseInt8>(problem, context.stream()), "multiply");
  }

 private:
  const DenseInt8Layer layer_;
  const Activation activation_;
};

const ActivatedEntries<QuantLinear> entries;

}  // namespace
}  // namespace confpress::cuda

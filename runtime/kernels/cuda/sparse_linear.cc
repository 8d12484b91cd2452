// SparseLinear for the CUDA provider; passes/operators/sparselinear.py defines it.
#include "base/activated_operators.h"
#include "cuda/on_gpu.h"
#include "sparse/sparse_int8_layer.h"
#include "sparse/sparse_reader.h"

namespace confpress::cuda {
namespace {

class SparseLinear {
 public:
  static constexpr char kOp[] = "SparseLinear";
  static constexpr const char* kProvider = kProviderName;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kInt8, ort::kUint8, ort::kFloat,
                                                 ort::kFloat};

  SparseLinear(const KernelInfo& info, Activation activation)
      : layer_(kOp, info), activation_(activation) {
    const auto w = on_host(kOp, layer_.weights, layer_.size());
    const auto columns = on_host(kOp, layer_.places, layer_.size());
    std::vector<int32_t> sums(layer_.strips * kStripRows, 0);
    SparseReader(kOp, layer_.columns, layer_.slots)
        .read(w.data(), columns.data(), layer_.strips, sums.data());
  }

  void compute(KernelContext& context) const {
    const Frames frames = frames_of(kOp, context, layer_.columns, layer_.rows);
    if (frames.count == 0) return;
    const Shape shape{static_cast<int64_t>(frames.count), static_cast<int>(layer_.rows),
                      static_cast<int>(layer_.columns), static_cast<int>(layer_.blocks)};
    // Initializers begin at multiples of 256 bytes, so four bytes can be read at once.
    const SparseInt8::Problem problem{shape,
                                      frames.x,
                                      reinterpret_cast<const uint32_t*>(layer_.weights),
                                      reinterpret_cast<const uint32_t*>(layer_.places),
                                      static_cast<int>(layer_.slots.size() / layer_.blocks),
                                      {layer_.scales, layer_.bias, frames.y, activation_}};
    check(kOp, launch<SparseInt8>(problem, context.stream()), "multiply");
  }

 private:
  const SparseInt8Layer layer_;
  const Activation activation_;
};

const ActivatedEntries<SparseLinear> entries;

}  // namespace
}  // namespace confpress::cuda

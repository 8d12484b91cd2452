// SparseLinearFloat: Y = activation(X Wᵀ + b) with sparse weights in float32 or bfloat16;
// passes/operators/sparselinear_float.py defines it and draws its layout.
#include "sparse/sparse_linear_float.h"

#include "base/activated_operators.h"
#include "base/cpu_path.h"
#include "base/custom_op.h"
#include "sparse/sparse_float_layer.h"

namespace confpress {
namespace {

const SparseFloatKernels& kernels() {
  if constexpr (built(CpuPath::kAvx512Vnni)) {
    if (uses(CpuPath::kAvx512Vnni)) return kSparseFloatAvx512Vnni;
  }
  if constexpr (built(CpuPath::kAvx2)) {
    if (uses(CpuPath::kAvx2)) return kSparseFloatAvx2;
  }
  return kSparseFloatPortable;
}

class SparseLinearFloat {
 public:
  static constexpr char kOp[] = "SparseLinearFloat";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kAny, ort::kUint8, ort::kFloat};

  SparseLinearFloat(const KernelInfo& info, Activation activation)
      : layer_(kOp, info, {ort::kFloat, ort::kBFloat16}),
        weights_(layer_.type == ort::kFloat ? layer_.as<float>() : nullptr),
        halves_(layer_.type == ort::kFloat ? nullptr : layer_.as<uint16_t>()),
        kernels_(kernels()),
        activation_(activation) {
    layer_.check_columns(kOp, layer_.places, [&](size_t i) {
      return halves_ != nullptr ? (halves_[i] & 0x7fff) != 0 : weights_[i] != 0.0f;
    });
  }

  void compute(KernelContext& context) const {
    const Frames frames = frames_of(kOp, context, layer_.columns, layer_.rows);
    if (frames.count > 0) run(context, frames);
  }

 private:
  // Every element of y is computed by one task in one order of additions, so the number of threads
  // does not change a bit.
  void run(const KernelContext& context, const Frames& frames) const {
    const SparseFloatKernel& kernel = kernels_.for_frames(frames.count);
    const size_t tiles = ceil_div(frames.count, kernel.tile_frames);
    const size_t chunks = ceil_div(layer_.rows, kFloatTaskRows);
    const KernelContext::Scratch scratch(
        context, tiles * kernel.tile_frames * layer_.blocks * kFloatBlock * sizeof(float));
    const SparseFloatProblem problem{frames.x,       reinterpret_cast<float*>(scratch.data()),
                                     weights_,       halves_,
                                     layer_.places,  layer_.bias,
                                     frames.y,       frames.count,
                                     layer_.columns, layer_.rows,
                                     layer_.blocks,  layer_.kept,
                                     activation_};
    context.parallel_for(tiles, [&](size_t tile) noexcept { kernel.transpose(problem, tile); });
    context.parallel_for(chunks * tiles, [&](size_t task) noexcept {
      kernel.multiply(problem, task % tiles, part({0, layer_.rows}, chunks, task / tiles));
    });
  }

  const SparseFloatLayer layer_;
  const float* const weights_;    // null where W is
  const uint16_t* const halves_;  // bfloat16
  const SparseFloatKernels& kernels_;
  const Activation activation_;
};

const ActivatedEntries<SparseLinearFloat> entries;

}  // namespace
}  // namespace confpress

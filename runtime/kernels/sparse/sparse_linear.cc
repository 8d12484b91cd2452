// SparseLinear and SparseLinearUneven: Y = activation(X Wᵀ + b), int8 activations and sparse int8
// weights; passes/operators/sparselinear.py and sparselinear_uneven.py define them and draw their
// layouts.
#include <vector>

#include "base/activated_operators.h"
#include "base/cpu_path.h"
#include "base/custom_op.h"
#include "base/task_grid.h"
#include "frames/quantized_frames.h"
#include "linear/int7_weights.h"
#include "sparse/linear_sparse.h"
#include "sparse/sparse_int8_layer.h"
#include "sparse/sparse_reader.h"

namespace confpress {
namespace {

// A task's tiles, of frames and of strips. Few of frames: processors fetch ahead what is written
// only in few rows of Y at a time. Eight in all, so that finding the task costs little.
constexpr size_t kTilesOfFrames = 2;
constexpr size_t kTilesOfStrips = 4;

const LinearSparseKernel& kernel(const SparseInt8Layer& layer) {
  if constexpr (built(CpuPath::kAvx512Vbmi)) {
    if (uses(CpuPath::kAvx512Vbmi)) return kLinearSparseAvx512Vbmi;
  }
  if constexpr (built(CpuPath::kAvx512Vnni)) {
    if (uses(CpuPath::kAvx512Vnni)) return kLinearSparseAvx512Vnni;
  }
  if constexpr (built(CpuPath::kAvxVnni)) {
    if (uses(CpuPath::kAvxVnni)) return kLinearSparseAvxVnni;
  }
  if constexpr (built(CpuPath::kAvx2)) {
    if (uses(CpuPath::kAvx2))
      return fit_int7(layer.weights, layer.size()) ? kLinearSparseInt7Avx2 : kLinearSparseAvx2;
  }
  if constexpr (built(CpuPath::kNeonDot)) {
    if (uses(CpuPath::kNeonDot)) return kLinearSparseNeonDot;
  }
  return kLinearSparsePortable;
}

struct Even {
  static constexpr char kOp[] = "SparseLinear";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kInt8, ort::kUint8, ort::kFloat,
                                                 ort::kFloat};
  static constexpr bool kUneven = false;
};

struct Uneven {
  static constexpr char kOp[] = "SparseLinearUneven";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kInt8,  ort::kUint8,
                                                 ort::kInt32, ort::kFloat, ort::kFloat};
  static constexpr bool kUneven = true;
};

template <class Layout>
class SparseLinear {
 public:
  static constexpr const auto& kOp = Layout::kOp;
  static constexpr const auto& kInputs = Layout::kInputs;

  SparseLinear(const KernelInfo& info, Activation activation)
      : layer_(kOp, info, Layout::kUneven),
        kernel_(kernel(layer_)),
        activation_(activation),
        scales_(padded(layer_.scales, layer_.rows, layer_.strips * kStripRows)),
        bias_(padded(layer_.bias, layer_.rows, layer_.strips * kStripRows)),
        offsets_(layer_.strips * kStripRows, 0),
        reader_(kOp, layer_.columns, layer_.slots) {
    reader_.read(layer_.weights, layer_.places, layer_.strips, offsets_.data());
    for (int32_t& offset : offsets_) offset *= -kernel_.quantizer->zero_point;
    weights_ = reader_.weights(layer_.weights, layer_.places);
  }

  void compute(KernelContext& context) const {
    const Frames frames = frames_of(kOp, context, layer_.columns, layer_.rows);
    if (frames.count > 0) run(context, frames);
  }

 private:
  // Every element of y is computed by one task in one order of integer additions, so the number of
  // threads does not change a bit.
  void run(const KernelContext& context, const Frames& frames) const {
    const QuantizedFrames quantized(context, *kernel_.quantizer, frames.x, frames.count,
                                    layer_.columns);
    const LinearSparseProblem problem{
        weights_,           quantized.codes(), quantized.codes_stride(),
        quantized.scales(), offsets_.data(),   scales_.data(),
        bias_.data(),       frames.y,          layer_.rows,
        activation_};
    const TaskGrid grid(frames.count, kTilesOfFrames * kernel_.tile_frames, layer_.strips,
                        kTilesOfStrips * kernel_.tile_strips, 2 * problem.strip_bytes());
    context.parallel_for(grid.count(), [&](size_t task) noexcept {
      const auto [frame_range, strip_range] = grid[task];
      kernel_.multiply(problem, frame_range, strip_range);
    });
  }

  const SparseInt8Layer layer_;
  const LinearSparseKernel& kernel_;
  const Activation activation_;
  std::vector<float> scales_;
  std::vector<float> bias_;
  std::vector<int32_t> offsets_;
  SparseReader reader_;
  SparseWeights weights_{};  // in the initializers' own memory
};

const ActivatedEntries<SparseLinear<Even>> even;
const ActivatedEntries<SparseLinear<Uneven>> uneven;

}  // namespace
}  // namespace confpress

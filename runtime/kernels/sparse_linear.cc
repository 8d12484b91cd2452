// SparseLinear: Y = activation(X Wᵀ + b), int8 activations and balanced-sparse int8 weights;
// passes/operators/sparselinear.py defines it and draws its layout.
#include <algorithm>
#include <string>
#include <tuple>

#include "activated_operators.h"
#include "cpu_path.h"
#include "custom_op.h"
#include "linear_inputs.h"
#include "linear_sparse.h"
#include "quantized_frames.h"
#include "sparse_reader.h"
#include "task_grid.h"

namespace confpress {
namespace {

// A task's tiles, of frames and of strips. Few of frames: processors fetch ahead what is written
// only in few rows of Y at a time. Eight in all, so that finding the task costs little.
constexpr size_t kTilesOfFrames = 2;
constexpr size_t kTilesOfStrips = 4;

const LinearSparseKernel& kernel_of(CpuPath path) {
  switch (path) {
#if defined(CONFPRESS_HAS_AVX512VBMI)
    case CpuPath::kAvx512Vbmi:
      return kLinearSparseAvx512Vbmi;
#endif
#if defined(CONFPRESS_HAS_AVX512VNNI)
    case CpuPath::kAvx512Vnni:
      return kLinearSparseAvx512Vnni;
#endif
#if defined(CONFPRESS_HAS_AVXVNNI)
    case CpuPath::kAvxVnni:
      return kLinearSparseAvxVnni;
#endif
#if defined(CONFPRESS_HAS_AVX2)
    case CpuPath::kAvx2:
      return kLinearSparseAvx2;
#endif
#if defined(CONFPRESS_HAS_NEONDOT)
    case CpuPath::kNeonDot:
      return kLinearSparseNeonDot;
#endif
    default:
      return kLinearSparsePortable;
  }
}

class SparseLinear {
 public:
  static constexpr char kOp[] = "SparseLinear";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kInt8, ort::kUint8, ort::kFloat,
                                                 ort::kFloat};

  SparseLinear(const KernelInfo& info, Activation activation)
      : kernel_(kernel_of(cpu_path_choice().chosen.path)), activation_(activation) {
    std::tie(rows_, columns_) = shape_attribute(kOp, info, kMostColumns);
    strips_ = ceil_div(rows_, kStripRows);
    blocks_ = ceil_div(columns_, kBlockColumns);

    const Tensor weights = info.constant(1, "W");
    const Tensor places = info.constant(2, "columns");
    const Tensor scales = info.constant(3, "scales");
    const Tensor bias = info.constant(4, "bias");
    const unsigned log_slots = log_slots_of(kOp, weights, 2);
    const std::vector<int64_t> packed{static_cast<int64_t>(strips_), static_cast<int64_t>(blocks_),
                                      int64_t{1} << log_slots, kStripRows, kSlotValues};
    require(kOp, weights, "W", ort::kInt8, packed);
    require(kOp, places, "columns", ort::kUint8, packed);
    require(kOp, scales, "scales", ort::kFloat, {static_cast<int64_t>(rows_)});
    require(kOp, bias, "bias", ort::kFloat, {static_cast<int64_t>(rows_)});
    scales_ = padded(scales.as<float>(), rows_, strips_ * kStripRows);
    bias_ = padded(bias.as<float>(), rows_, strips_ * kStripRows);
    offsets_.assign(strips_ * kStripRows, 0);
    SparseReader reader(kOp, columns_, log_slots);
    reader.read(weights.as<int8_t>(), places.as<uint8_t>(), strips_, offsets_.data());
    for (int32_t& offset : offsets_) offset *= -kernel_.quantizer->zero_point;
    weights_ = reader.weights(weights.as<int8_t>(), places.as<uint8_t>());
  }

  void compute(KernelContext& context) const {
    const Frames frames = frames_of(kOp, context, columns_, rows_);
    if (frames.count > 0) run(context, frames);
  }

 private:
  // Every element of y is computed by one task in one order of integer additions, so the number of
  // threads does not change a bit.
  void run(const KernelContext& context, const Frames& frames) const {
    const QuantizedFrames quantized(context, *kernel_.quantizer, frames.x, frames.count, columns_,
                                    kernel_.prepare);
    const LinearSparseProblem problem{
        weights_,           quantized.codes(), quantized.codes_stride(),
        quantized.scales(), offsets_.data(),   scales_.data(),
        bias_.data(),       frames.y,          rows_,
        activation_};
    const TaskGrid grid(frames.count, kTilesOfFrames * kernel_.tile_frames, strips_,
                        kTilesOfStrips * kernel_.tile_strips, 2 * problem.strip_bytes());
    context.parallel_for(grid.count(), [&](size_t task) noexcept {
      const auto [frame_range, strip_range] = grid[task];
      kernel_.multiply(problem, frame_range, strip_range);
    });
  }

  const LinearSparseKernel& kernel_;
  const Activation activation_;
  size_t rows_ = 0;
  size_t columns_ = 0;
  size_t strips_ = 0;
  size_t blocks_ = 0;
  SparseWeights weights_{};  // in the initializers' own memory
  std::vector<float> scales_;
  std::vector<float> bias_;
  std::vector<int32_t> offsets_;
};

const ActivatedEntries<SparseLinear> entries;

}  // namespace
}  // namespace confpress

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
#include "sparse_columns.h"
#include "task_grid.h"

namespace confpress {
namespace {

// A task's tiles, of frames and of strips. Few of frames: processors fetch ahead what is written
// only in few rows of Y at a time. Eight in all, so that finding the task costs little.
constexpr size_t kTilesOfFrames = 2;
constexpr size_t kTilesOfStrips = 4;
constexpr unsigned kMostLogSlots = 3;

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
    log_slots_ = log_slots_of(weights);
    const std::vector<int64_t> packed{static_cast<int64_t>(strips_), static_cast<int64_t>(blocks_),
                                      int64_t{1} << log_slots_, kStripRows, kSlotValues};
    require(kOp, weights, "W", ort::kInt8, packed);
    require(kOp, places, "columns", ort::kUint8, packed);
    require(kOp, scales, "scales", ort::kFloat, {static_cast<int64_t>(rows_)});
    require(kOp, bias, "bias", ort::kFloat, {static_cast<int64_t>(rows_)});
    weights_ = weights.as<int8_t>();
    places_ = places.as<uint8_t>();
    scales_ = padded(scales.as<float>(), rows_, strips_ * kStripRows);
    bias_ = padded(bias.as<float>(), rows_, strips_ * kStripRows);
    read_weights();
  }

  void compute(KernelContext& context) const {
    const Frames frames = frames_of(kOp, context, columns_, rows_);
    if (frames.count > 0) run(context, frames);
  }

 private:
  static unsigned log_slots_of(const Tensor& weights) {
    if (weights.shape.size() == 5) {
      for (unsigned log = 0; log <= kMostLogSlots; ++log) {
        if (weights.shape[2] == int64_t{1} << log) return log;
      }
    }
    throw Error(std::string(kOp) + "'s input W has the shape " + text_of(weights.shape) +
                " where it must have five dimensions, the third 1, 2, 4 or 8.");
  }

  // Checks every column, sums every row, and finds what the columns of a slot have in common.
  void read_weights() {
    const size_t slots = size_t{1} << log_slots_;
    offsets_.assign(strips_ * kStripRows, 0);
    bool window = slots >= kWindowsOfBlock;
    bool pair = slots == kWindowsOfBlock / 2;
    const int8_t* w = weights_;
    const uint8_t* places = places_;
    for (size_t strip = 0; strip < strips_; ++strip) {
      for (size_t block = 0; block < blocks_; ++block) {
        const size_t width = std::min(kBlockColumns, columns_ - block * kBlockColumns);
        uint64_t seen[kStripRows] = {};
        for (size_t slot = 0; slot < slots; ++slot) {
          const size_t of_slot = slot * kWindowsOfBlock / slots;
          for (size_t row = 0; row < kStripRows; ++row) {
            for (size_t i = 0; i < kSlotValues; ++i, ++w, ++places) {
              take_column(kOp, *places, *w != 0, width, seen[row]);
              offsets_[strip * kStripRows + row] -= kernel_.quantizer->zero_point * *w;
              window &= *places / kWindowColumns == of_slot;
              pair &= *places / kWindowColumns == of_slot + i / 2;
            }
          }
        }
      }
    }
    reach_ = window ? SlotReach::kWindow : pair ? SlotReach::kPair : SlotReach::kBlock;
  }

  // Every element of y is computed by one task in one order of integer additions, so the number of
  // threads does not change a bit.
  void run(const KernelContext& context, const Frames& frames) const {
    const QuantizedFrames quantized(context, *kernel_.quantizer, frames.x, frames.count, columns_,
                                    kernel_.prepare);
    const LinearSparseProblem problem{quantized.codes(),
                                      quantized.codes_stride(),
                                      quantized.scales(),
                                      weights_,
                                      places_,
                                      blocks_,
                                      log_slots_,
                                      reach_,
                                      offsets_.data(),
                                      scales_.data(),
                                      bias_.data(),
                                      frames.y,
                                      rows_,
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
  unsigned log_slots_ = 0;
  SlotReach reach_ = SlotReach::kBlock;
  const int8_t* weights_ = nullptr;  // the initializers' own memory
  const uint8_t* places_ = nullptr;
  std::vector<float> scales_;
  std::vector<float> bias_;
  std::vector<int32_t> offsets_;
};

const ActivatedEntries<SparseLinear> entries;

}  // namespace
}  // namespace confpress

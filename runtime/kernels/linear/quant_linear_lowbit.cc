// QuantLinear4Bit and QuantLinear2Bit: Y = activation(X Wᵀ + b), W's codes are looked up in a table
// of integers and scaled per block; passes/operators/quantlinear_lowbit.py defines them and draws
// the layout.
#include <algorithm>
#include <string>
#include <tuple>

#include "base/activated_operators.h"
#include "base/cpu_path.h"
#include "base/custom_op.h"
#include "base/task_grid.h"
#include "frames/quantized_frames.h"
#include "linear/linear_inputs.h"
#include "linear/linear_lowbit.h"

namespace confpress {
namespace {

// A task decodes the weights of one tile of strips and multiplies them with this many tiles of
// frames: enough that decoding is a few per cent, few enough that two threads share 64 frames.
constexpr size_t kTilesOfFrames = 8;
constexpr size_t kTableSize = 16;
constexpr int64_t kMostMagnitude = 127;

const LinearLowbitKernel& kernel() {
  if constexpr (built(CpuPath::kAvx512Vnni)) {
    if (uses(CpuPath::kAvx512Vnni)) return kLinearLowbitAvx512Vnni;
  }
  if constexpr (built(CpuPath::kAvx2)) {
    if (uses(CpuPath::kAvx2)) return kLinearLowbitAvx2;
  }
  if constexpr (built(CpuPath::kNeonDot)) {
    if (uses(CpuPath::kNeonDot)) return kLinearLowbitNeonDot;
  }
  return kLinearLowbitPortable;
}

class QuantLinearLowbit {
 public:
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kUint8, ort::kFloat,
                                                 ort::kFloat};

  QuantLinearLowbit(const KernelInfo& info, const char* op, int bits, Activation activation)
      : op_(op), bits_(bits), kernel_(kernel()), activation_(activation) {
    std::tie(rows_, columns_) = shape_attribute(op_, info, kMostColumns);
    const size_t block = block_of(info);
    read_table(info);
    const size_t packed_groups = ceil_div(columns_, kGroupColumns * parts());
    strips_ = ceil_div(rows_, kStripRows);
    groups_ = packed_groups * parts();
    block_groups_ = block / kGroupColumns;
    blocks_ = ceil_div(columns_, block);

    const Tensor weights = info.constant(1, "W");
    const Tensor scales = info.constant(2, "scales");
    const Tensor bias = info.constant(3, "bias");
    const auto strips = static_cast<int64_t>(strips_);
    require(op_, weights, "W", ort::kUint8,
            {strips, static_cast<int64_t>(packed_groups), kStripRows, kGroupColumns});
    require(op_, scales, "scales", ort::kFloat,
            {strips, static_cast<int64_t>(blocks_), kStripRows});
    require(op_, bias, "bias", ort::kFloat, {static_cast<int64_t>(rows_)});
    weights_ = weights.as<uint8_t>();
    scales_ = scales.as<float>();
    bias_ = padded(bias.as<float>(), rows_, strips_ * kStripRows);
  }

  void compute(KernelContext& context) const {
    const Frames frames = frames_of(op_, context, columns_, rows_);
    if (frames.count > 0) run(context, frames);
  }

 private:
  size_t parts() const { return 8 / static_cast<size_t>(bits_); }

  size_t block_of(const KernelInfo& info) const {
    const std::vector<int64_t> block = info.ints("block");
    const bool known = block.size() == 1 &&
                       (block[0] == 16 || block[0] == 32 || block[0] == 64 || block[0] == 128);
    if (!known) {
      throw Error(std::string(op_) + "'s attribute block is " + text_of(block) +
                  " where it must be [16], [32], [64] or [128].");
    }
    return static_cast<size_t>(block[0]);
  }

  void read_table(const KernelInfo& info) {
    const std::vector<int64_t> values = info.ints("values");
    const size_t count = size_t{1} << bits_;
    const bool counted = values.size() == count;
    const int64_t least = counted ? *std::min_element(values.begin(), values.end()) : 0;
    const int64_t most = counted ? *std::max_element(values.begin(), values.end()) : 0;
    if (!counted || least < -kMostMagnitude || most > kMostMagnitude || most - least > kMostSpan) {
      throw Error(std::string(op_) + "'s attribute values is " + text_of(values) +
                  " where it must be " + std::to_string(count) + " integers within " +
                  std::to_string(kMostMagnitude) + " of 0 and " + std::to_string(kMostSpan) +
                  " of each other.");
    }
    least_ = kernel_.unsigned_weights ? static_cast<int32_t>(least) : 0;
    for (size_t i = 0; i < kTableSize; ++i) {
      table_[i] = static_cast<uint8_t>(values[i % count] - least_);
    }
  }

  // What a frame's accumulators start with: where the weights are stored minus their least value,
  // that value times the sum of the block's codes is missing.
  void find_starts(const int32_t* sums, int32_t* starts) const {
    const size_t runs = ceil_div(columns_, kSumColumns);
    const size_t block_runs = block_groups_ * kGroupColumns / kSumColumns;
    for (size_t block = 0; block < blocks_; ++block) {
      int32_t sum = 0;
      const size_t end = std::min((block + 1) * block_runs, runs);
      for (size_t i = block * block_runs; i < end; ++i) sum += sums[i];
      starts[block] = least_ * sum;
    }
  }

  // Every element of y is computed in one order of operations, whatever the tasks and their order:
  // the number of threads does not change a bit.
  void run(const KernelContext& context, const Frames& frames) const {
    const size_t sums_of_frame = ceil_div(columns_, kCodeRun) * (kCodeRun / kSumColumns);
    const size_t words = blocks_ + sums_of_frame;
    const KernelContext::Scratch scratch(context, frames.count * words * sizeof(int32_t));
    auto* starts = reinterpret_cast<int32_t*>(scratch.data());
    auto* sums = starts + frames.count * blocks_;
    const auto prepare = [&](size_t i, std::byte* codes) {
      kernel_.narrow(codes, columns_, sums + i * sums_of_frame);
      find_starts(sums + i * sums_of_frame, starts + i * blocks_);
    };
    const QuantizedFrames quantized(context, *kernel_.quantizer, frames.x, frames.count, columns_,
                                    prepare);

    const LinearLowbitProblem problem{reinterpret_cast<const int8_t*>(quantized.codes()),
                                      quantized.codes_stride(),
                                      starts,
                                      quantized.scales(),
                                      weights_,
                                      bits_,
                                      table_,
                                      groups_,
                                      block_groups_,
                                      blocks_,
                                      scales_,
                                      bias_.data(),
                                      frames.y,
                                      rows_,
                                      activation_};
    const TaskGrid grid(frames.count, kernel_.tile_frames * kTilesOfFrames, strips_,
                        kernel_.tile_strips, groups_ / parts() * kGroupBytes);
    context.parallel_for(grid.count(), [&](size_t task) noexcept {
      const auto [frame_range, strip_range] = grid[task];
      kernel_.multiply(problem, frame_range, strip_range);
    });
  }

  const char* const op_;
  const int bits_;
  const LinearLowbitKernel& kernel_;
  const Activation activation_;
  uint8_t table_[kTableSize];
  int32_t least_ = 0;
  size_t rows_ = 0;
  size_t columns_ = 0;
  size_t strips_ = 0;
  size_t groups_ = 0;
  size_t block_groups_ = 0;
  size_t blocks_ = 0;
  const uint8_t* weights_ = nullptr;  // the initializers' own memory
  const float* scales_ = nullptr;
  std::vector<float> bias_;
};

struct QuantLinear4Bit : QuantLinearLowbit {
  static constexpr char kOp[] = "QuantLinear4Bit";
  QuantLinear4Bit(const KernelInfo& info, Activation activation)
      : QuantLinearLowbit(info, kOp, 4, activation) {}
};

struct QuantLinear2Bit : QuantLinearLowbit {
  static constexpr char kOp[] = "QuantLinear2Bit";
  QuantLinear2Bit(const KernelInfo& info, Activation activation)
      : QuantLinearLowbit(info, kOp, 2, activation) {}
};

const ActivatedEntries<QuantLinear4Bit> entries_of_4_bits;
const ActivatedEntries<QuantLinear2Bit> entries_of_2_bits;

}  // namespace
}  // namespace confpress

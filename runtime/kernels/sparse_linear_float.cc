// SparseLinearFloat: Y = activation(X Wᵀ + b) with sparse weights in float32 or
// bfloat16;
// passes/operators/sparselinear_float.py defines it and draws its layout.
#include "sparse_linear_float.h"

#include <algorithm>
#include <string>
#include <tuple>

#include "activated_operators.h"
#include "cpu_path.h"
#include "custom_op.h"
#include "linear_inputs.h"
#include "sparse_columns.h"

namespace confpress {
namespace {

constexpr int64_t kMostColumns = 131072;

const SparseFloatKernels& kernels_of(CpuPath path) {
  switch (path) {
#if defined(CONFPRESS_HAS_AVX512VNNI)
    case CpuPath::kAvx512Vbmi:
    case CpuPath::kAvx512Vnni:
      return kSparseFloatAvx512Vnni;
#endif
#if defined(CONFPRESS_HAS_AVX2)
    case CpuPath::kAvxVnni:
    case CpuPath::kAvx2:
      return kSparseFloatAvx2;
#endif
    default:
      return kSparseFloatPortable;
  }
}

class SparseLinearFloat {
 public:
  static constexpr char kOp[] = "SparseLinearFloat";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kAny, ort::kUint8, ort::kFloat};

  SparseLinearFloat(const KernelInfo& info, Activation activation)
      : kernels_(kernels_of(cpu_path_choice().chosen.path)), activation_(activation) {
    std::tie(rows_, columns_) = shape_attribute(kOp, info, kMostColumns);
    blocks_ = ceil_div(columns_, kFloatBlock);

    const Tensor weights = info.constant(1, "W");
    const Tensor places = info.constant(2, "columns");
    const Tensor bias = info.constant(3, "bias");
    const int64_t kept = weights.shape.size() == 3 ? weights.shape[2] : 0;
    if (kept < 1 || kept > static_cast<int64_t>(kFloatBlock)) {
      throw Error(std::string(kOp) + "'s input W has the shape " + text_of(weights.shape) +
                  " where it must have three dimensions, the last 1 to 64.");
    }
    kept_ = static_cast<size_t>(kept);
    const std::vector<int64_t> packed{static_cast<int64_t>(blocks_), static_cast<int64_t>(rows_),
                                      kept};
    const bool narrow = weights.type == ort::kBFloat16;
    require(kOp, weights, "W", narrow ? ort::kBFloat16 : ort::kFloat, packed);
    require(kOp, places, "columns", ort::kUint8, packed);
    require(kOp, bias, "bias", ort::kFloat, {static_cast<int64_t>(rows_)});
    weights_ = narrow ? nullptr : weights.as<float>();
    halves_ = narrow ? weights.as<uint16_t>() : nullptr;
    places_ = places.as<uint8_t>();
    bias_ = bias.as<float>();
    check_columns();
  }

  void compute(KernelContext& context) const {
    const Frames frames = frames_of(kOp, context, columns_, rows_);
    if (frames.count > 0) run(context, frames);
  }

 private:
  bool is_weight(size_t i) const {
    return halves_ != nullptr ? (halves_[i] & 0x7fff) != 0 : weights_[i] != 0.0f;
  }

  void check_columns() const {
    size_t at = 0;
    for (size_t block = 0; block < blocks_; ++block) {
      const size_t width = std::min(kFloatBlock, columns_ - block * kFloatBlock);
      for (size_t row = 0; row < rows_; ++row) {
        uint64_t seen = 0;
        for (size_t i = 0; i < kept_; ++i, ++at) {
          take_column(kOp, places_[at], is_weight(at), width, seen);
        }
      }
    }
  }

  // Every element of y is computed by one task in one order of additions, so the number of threads
  // does not change a bit.
  void run(const KernelContext& context, const Frames& frames) const {
    const SparseFloatKernel& kernel = kernels_.for_frames(frames.count);
    const size_t tiles = ceil_div(frames.count, kernel.tile_frames);
    const size_t chunks = ceil_div(rows_, kFloatTaskRows);
    const KernelContext::Scratch scratch(
        context, tiles * kernel.tile_frames * blocks_ * kFloatBlock * sizeof(float));
    const SparseFloatProblem problem{frames.x,   reinterpret_cast<float*>(scratch.data()),
                                     weights_,   halves_,
                                     places_,    bias_,
                                     frames.y,   frames.count,
                                     columns_,   rows_,
                                     blocks_,    kept_,
                                     activation_};
    context.parallel_for(tiles, [&](size_t tile) noexcept { kernel.transpose(problem, tile); });
    context.parallel_for(chunks * tiles, [&](size_t task) noexcept {
      kernel.multiply(problem, task % tiles, part({0, rows_}, chunks, task / tiles));
    });
  }

  const SparseFloatKernels& kernels_;
  const Activation activation_;
  size_t rows_ = 0;
  size_t columns_ = 0;
  size_t blocks_ = 0;
  size_t kept_ = 0;
  const float* weights_ = nullptr;    // the initializers' own memory; null where W is
  const uint16_t* halves_ = nullptr;  // bfloat16
  const uint8_t* places_ = nullptr;
  const float* bias_ = nullptr;
};

const ActivatedEntries<SparseLinearFloat> entries;

}  // namespace
}  // namespace confpress

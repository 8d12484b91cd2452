// SparseConv2d: convolution of uint8 rows with balanced-sparse int8 weights;
// passes/operators/sparseconv2d.py defines it.
#include "conv2d/sparse_conv2d.h"

#include <optional>
#include <vector>

#include "base/cpu_path.h"
#include "conv2d/conv2d_operator.h"
#include "linear/int7_weights.h"
#include "sparse/sparse_reader.h"
#include "sparse/sparse_slots.h"

namespace confpress {
namespace {

const SparseConv2dKernel& kernel(const int8_t* weights, size_t size) {
  if constexpr (built(CpuPath::kAvx512Vbmi)) {
    if (uses(CpuPath::kAvx512Vbmi)) return kSparseConv2dAvx512Vbmi;
  }
  if constexpr (built(CpuPath::kAvx512Vnni)) {
    if (uses(CpuPath::kAvx512Vnni)) return kSparseConv2dAvx512Vnni;
  }
  if constexpr (built(CpuPath::kAvx2)) {
    if (uses(CpuPath::kAvx2))
      return fit_int7(weights, size) ? kSparseConv2dInt7Avx2 : kSparseConv2dAvx2;
  }
  return kSparseConv2dPortable;
}

class SparseConv2d : Conv2dOperator {
 public:
  static constexpr char kOp[] = "SparseConv2d";
  static constexpr ort::ElementType kInputs[] = {ort::kUint8, ort::kFloat, ort::kUint8, ort::kInt8,
                                                 ort::kUint8, ort::kFloat, ort::kFloat};

  SparseConv2d(const KernelInfo& info, ConvActivation activation)
      : Conv2dOperator(kOp, info, activation, "attribute shape", info.ints("shape"),
                       info.constant(5, "W_scales"), info.constant(6, "bias")) {
    const Tensor weights = info.constant(3, "W");
    const Tensor places = info.constant(4, "columns");
    const size_t width = window_.columns.taps * channels_in_;
    const size_t blocks = ceil_div(width, kBlockColumns);
    const std::vector<int32_t> slots = even_slots(kOp, weights, 3, blocks);
    const size_t taps = window_.time.taps;
    const std::vector<int64_t> packed{static_cast<int64_t>(taps),
                                      static_cast<int64_t>(strips_),
                                      static_cast<int64_t>(blocks),
                                      static_cast<int64_t>(slots.size() / blocks),
                                      kStripRows,
                                      kSlotValues};
    require(kOp, weights, "W", ort::kInt8, packed);
    require(kOp, places, "columns", ort::kUint8, packed);
    reader_.emplace(kOp, width, slots);
    reader_->read(weights.as<int8_t>(), places.as<uint8_t>(), taps * strips_, weight_sums_.data());
    weights_ = reader_->weights(weights.as<int8_t>(), places.as<uint8_t>());
    kernel_ = &kernel(weights_.weights, taps * strips_ * weights_.strip_bytes());
    // A slot's look-up may reach behind the last column.
    layout_ = {channels_in_, kernel_->code_bytes, blocks * kBlockColumns - width};
  }

  void compute(KernelContext& context) const {
    SparseConv2dProblem problem{};
    problem.first_tap = weights_;
    run(context, *kernel_, layout_, problem, 2 * window_.time.taps * weights_.strip_bytes());
  }

 private:
  const SparseConv2dKernel* kernel_ = nullptr;
  std::optional<SparseReader> reader_;
  SparseWeights weights_{};  // in the initializers' own memory
  PieceLayout layout_{};
};

const ActivatedConvEntries<SparseConv2d> entries;

}  // namespace
}  // namespace confpress

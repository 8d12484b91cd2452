// SparseLinearFloat and SparseLinearHalf for the CUDA provider; passes/operators/ defines them.
#include "base/activated_operators.h"
#include "cuda/on_gpu.h"
#include "sparse/sparse_float_layer.h"

namespace confpress::cuda {
namespace {

template <class T>
class SparseLinear {
 public:
  static constexpr const char* kProvider = kProviderName;

  SparseLinear(const char* op, const KernelInfo& info, Activation activation,
               std::initializer_list<ort::ElementType> types)
      : op_(op), layer_(op, info, types), activation_(activation) {}

  // The layer's weights and their columns, in the processor's memory.
  template <class Weight>
  struct Weights {
    std::vector<Weight> values;
    std::vector<uint8_t> columns;
  };

  template <class Weight>
  Weights<Weight> checked_weights() const {
    Weights<Weight> w{on_host(op_, layer_.as<Weight>(), layer_.size()),
                      on_host(op_, layer_.places, layer_.size())};
    layer_.check_columns(op_, w.columns.data(),
                         [&](size_t i) { return to_float(w.values[i]) != 0.0f; });
    return w;
  }

  template <class Weight>
  void multiply(const KernelContext& context) const {
    const auto frames = frames_of<T>(op_, context, layer_.columns, layer_.rows);
    if (frames.count == 0) return;
    const typename SparseFloat<T, Weight>::Problem problem{shape(frames.count),
                                                           frames.x,
                                                           layer_.as<Weight>(),
                                                           layer_.places,
                                                           static_cast<int>(layer_.kept),
                                                           layer_.bias,
                                                           frames.y,
                                                           activation_};
    check(op_, launch<SparseFloat<T, Weight>>(problem, context.stream()), "multiply");
  }

 protected:
  Shape shape(size_t frames) const {
    return {static_cast<int64_t>(frames), static_cast<int>(layer_.rows),
            static_cast<int>(layer_.columns), static_cast<int>(layer_.blocks)};
  }

  const char* const op_;
  const SparseFloatLayer layer_;
  const Activation activation_;
};

struct SparseLinearFloat : SparseLinear<float> {
  static constexpr char kOp[] = "SparseLinearFloat";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kAny, ort::kUint8, ort::kFloat};

  SparseLinearFloat(const KernelInfo& info, Activation activation)
      : SparseLinear(kOp, info, activation, {ort::kFloat, ort::kBFloat16}) {
    if (narrow()) {
      checked_weights<BFloat16>();
    } else {
      checked_weights<float>();
    }
  }
  void compute(const KernelContext& context) const {
    narrow() ? multiply<BFloat16>(context) : multiply<float>(context);
  }

 private:
  bool narrow() const { return layer_.type == ort::kBFloat16; }
};

// Where every group of four columns keeps two weights, sparse tensor cores multiply them.
struct SparseLinearHalf : SparseLinear<Half> {
  static constexpr char kOp[] = "SparseLinearHalf";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat16, ort::kFloat16, ort::kUint8,
                                                 ort::kFloat};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat16};

  SparseLinearHalf(const KernelInfo& info, Activation activation)
      : SparseLinear(kOp, info, activation, {ort::kFloat16}) {
    const Weights<Half> w = checked_weights<Half>();
    // They read 9 bytes for 8 columns and the other kernel 3 for a weight, so up to 24 of 64 it
    // reads no more than they do.
    if (layer_.kept <= 24 || !has_sparse_tensor_cores()) return;
    packed_ = OnGpu(kOp, pack_two_of_four(w.values.data(), w.columns.data(), layer_.rows,
                                          layer_.blocks, layer_.kept));
  }

  void compute(const KernelContext& context) const {
    packed_.data() == nullptr ? multiply<Half>(context) : multiply_packed(context);
  }

 private:
  void multiply_packed(const KernelContext& context) const {
    const auto frames = frames_of<Half>(kOp, context, layer_.columns, layer_.rows);
    if (frames.count == 0) return;
    const SparseMmaProblem problem{shape(frames.count), frames.x, packed_.data(),
                                   layer_.bias,         frames.y, activation_};
    check(kOp, launch(problem, context.stream()), "multiply");
  }

  OnGpu<MmaWeights> packed_;
};

const ActivatedEntries<SparseLinearFloat> float_entries;
const ActivatedEntries<SparseLinearHalf> half_entries;

}  // namespace
}  // namespace confpress::cuda

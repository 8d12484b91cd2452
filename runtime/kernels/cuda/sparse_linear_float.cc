// SparseLinearFloat and SparseLinearHalf for the CUDA provider; passes/operators/ defines them.
#include "../activated_operators.h"
#include "../sparse_float_layer.h"
#include "on_gpu.h"

namespace confpress::cuda {
namespace {

template <class T>
class SparseLinear {
 public:
  static constexpr const char* kProvider = kProviderName;

  SparseLinear(const char* op, const KernelInfo& info, Activation activation,
               std::initializer_list<ort::ElementType> types)
      : op_(op), layer_(op, info, types), activation_(activation) {}

  // The columns, with the weights that belong to them.
  template <class Weight>
  void check_weights() const {
    const auto w = on_host(op_, layer_.as<Weight>(), layer_.size());
    const auto columns = on_host(op_, layer_.places, layer_.size());
    layer_.check_columns(op_, columns.data(), [&](size_t i) { return to_float(w[i]) != 0.0f; });
  }

  template <class Weight>
  void multiply(const KernelContext& context) const {
    const auto frames = frames_of<T>(op_, context, layer_.columns, layer_.rows);
    if (frames.count == 0) return;
    const Shape shape{static_cast<int64_t>(frames.count), static_cast<int>(layer_.rows),
                      static_cast<int>(layer_.columns), static_cast<int>(layer_.blocks)};
    const typename SparseFloat<T, Weight>::Problem problem{
        shape,       frames.x, layer_.as<Weight>(), layer_.places, static_cast<int>(layer_.kept),
        layer_.bias, frames.y, activation_};
    check(op_, launch<SparseFloat<T, Weight>>(problem, context.stream()), "multiply");
  }

 protected:
  ort::ElementType weight_type() const { return layer_.type; }

 private:
  const char* const op_;
  const SparseFloatLayer layer_;
  const Activation activation_;
};

struct SparseLinearFloat : SparseLinear<float> {
  static constexpr char kOp[] = "SparseLinearFloat";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kAny, ort::kUint8, ort::kFloat};

  SparseLinearFloat(const KernelInfo& info, Activation activation)
      : SparseLinear(kOp, info, activation, {ort::kFloat, ort::kBFloat16}) {
    narrow() ? check_weights<BFloat16>() : check_weights<float>();
  }
  void compute(const KernelContext& context) const {
    narrow() ? multiply<BFloat16>(context) : multiply<float>(context);
  }

 private:
  bool narrow() const { return weight_type() == ort::kBFloat16; }
};

struct SparseLinearHalf : SparseLinear<Half> {
  static constexpr char kOp[] = "SparseLinearHalf";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat16, ort::kFloat16, ort::kUint8,
                                                 ort::kFloat};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat16};

  SparseLinearHalf(const KernelInfo& info, Activation activation)
      : SparseLinear(kOp, info, activation, {ort::kFloat16}) {
    check_weights<Half>();
  }
  void compute(const KernelContext& context) const { multiply<Half>(context); }
};

const ActivatedEntries<SparseLinearFloat> float_entries;
const ActivatedEntries<SparseLinearHalf> half_entries;

}  // namespace
}  // namespace confpress::cuda

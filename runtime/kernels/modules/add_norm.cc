// AddNorm and AddNormNorm: residual sum and layer normalisation; passes/operators/addnorm.py
// defines them.
#include "modules/add_norm.h"

#include <algorithm>

#include "base/cpu_path.h"
#include "base/custom_op.h"

namespace confpress {
namespace {

constexpr size_t kRowsOfTask = 16;

const AddNormKernel& kernel() {
  if constexpr (built(CpuPath::kAvx512Vnni)) {
    if (uses(CpuPath::kAvx512Vnni)) return kAddNormAvx512Vnni;
  }
  if constexpr (built(CpuPath::kAvx2)) {
    if (uses(CpuPath::kAvx2)) return kAddNormAvx2;
  }
  return kAddNormPortable;
}

class AddNormBase {
 public:
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat, ort::kFloat};

  AddNormBase(const KernelInfo& info, size_t norms) : kernel_(kernel()), norms_(norms) {
    scale_ = info.number("scale");
    epsilons_[0] = info.number("epsilon");
    epsilons_[1] = norms == 2 ? info.number("epsilon2") : 0.0f;
  }

  void compute(KernelContext& context) const {
    const Tensor stream = context.input(0);
    const Tensor branch = context.input(1);
    if (stream.shape.empty() || stream.shape != branch.shape) {
      throw Error("AddNorm's inputs have the shapes " + text_of(stream.shape) + " and " +
                  text_of(branch.shape) + " where they must be equal.");
    }
    AddNormProblem problem{};
    problem.stream = stream.as<float>();
    problem.branch = branch.as<float>();
    problem.scale = scale_;
    problem.width = static_cast<size_t>(stream.shape.back());
    problem.norm_count = norms_;
    for (size_t i = 0; i < norms_; ++i) {
      const Tensor weight = context.input(2 + 2 * i);
      const Tensor bias = context.input(3 + 2 * i);
      const std::vector<int64_t> shape = {stream.shape.back()};
      if (weight.shape != shape || bias.shape != shape) {
        throw Error("AddNorm's weight and bias have the shapes " + text_of(weight.shape) + " and " +
                    text_of(bias.shape) + " where they must be " + text_of(shape) + ".");
      }
      problem.norms[i] = {weight.as<float>(), bias.as<float>(), epsilons_[i]};
    }
    problem.y0 = context.output(0, stream.shape);
    problem.y1 = context.output(1, stream.shape);
    size_t rows = problem.width == 0 ? 0 : 1;
    for (size_t i = 0; i + 1 < stream.shape.size(); ++i) {
      rows *= static_cast<size_t>(stream.shape[i]);
    }
    context.parallel_for(ceil_div(rows, kRowsOfTask), [&](size_t task) noexcept {
      kernel_.run(problem, {task * kRowsOfTask, std::min(rows, (task + 1) * kRowsOfTask)});
    });
  }

 private:
  const AddNormKernel& kernel_;
  const size_t norms_;
  float scale_ = 0.0f;
  float epsilons_[2] = {};
};

struct AddNorm : AddNormBase {
  static constexpr const char* kName = "AddNorm";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat,
                                                 ort::kFloat};
  explicit AddNorm(const KernelInfo& info) : AddNormBase(info, 1) {}
};

struct AddNormNorm : AddNormBase {
  static constexpr const char* kName = "AddNormNorm";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat,
                                                 ort::kFloat, ort::kFloat, ort::kFloat};
  explicit AddNormNorm(const KernelInfo& info) : AddNormBase(info, 2) {}
};

const OperatorEntry entry{operator_of<AddNorm>()};
const OperatorEntry entry_of_two{operator_of<AddNormNorm>()};

}  // namespace
}  // namespace confpress

// Swoosh: a softplus less a line; passes/operators/swoosh.py defines it.
#include "modules/swoosh.h"

#include <algorithm>

#include "base/cpu_path.h"
#include "base/custom_op.h"

namespace confpress {
namespace {

constexpr size_t kElementsOfTask = 4096;

const SwooshKernel& kernel() {
  if constexpr (built(CpuPath::kAvx512Vnni)) {
    if (uses(CpuPath::kAvx512Vnni)) return kSwooshAvx512Vnni;
  }
  if constexpr (built(CpuPath::kAvx2)) {
    if (uses(CpuPath::kAvx2)) return kSwooshAvx2;
  }
  return kSwooshPortable;
}

class Swoosh {
 public:
  static constexpr const char* kName = "Swoosh";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat};
  static constexpr ort::ElementType kOutputs[] = {ort::kFloat};

  explicit Swoosh(const KernelInfo& info)
      : kernel_(kernel()),
        shift_(info.number("shift")),
        slope_(info.number("slope")),
        offset_(info.number("offset")) {}

  void compute(KernelContext& context) const {
    const Tensor x = context.input(0);
    size_t count = 1;
    for (const int64_t size : x.shape) count *= static_cast<size_t>(size);
    const SwooshProblem problem{x.as<float>(), context.output(0, x.shape), shift_, slope_, offset_};
    context.parallel_for(ceil_div(count, kElementsOfTask), [&](size_t task) noexcept {
      const size_t begin = task * kElementsOfTask;
      kernel_.run(problem, {begin, std::min(count, begin + kElementsOfTask)});
    });
  }

 private:
  const SwooshKernel& kernel_;
  const float shift_;
  const float slope_;
  const float offset_;
};

const OperatorEntry entry{operator_of<Swoosh>()};

}  // namespace
}  // namespace confpress

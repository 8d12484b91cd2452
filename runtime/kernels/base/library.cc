// The two entries of the library: one for ONNX Runtime, one for `confpress kernels`.
#include <map>
#include <mutex>
#include <string>

#include "base/cpu_path.h"
#include "base/custom_op.h"

#if defined(CONFPRESS_CUDA)
#include "cuda/on_gpu.h"
#endif

namespace confpress {
namespace {

#if defined(__clang__)
constexpr char kCompiler[] = "Clang " __clang_version__;
#elif defined(__GNUC__)
constexpr char kCompiler[] = "GCC " __VERSION__;
#else
constexpr char kCompiler[] = "unknown";
#endif

#if defined(CONFPRESS_CUDA)
constexpr char kCuda[] = CONFPRESS_CUDA;
#else
constexpr char kCuda[] = "";
#endif

std::string describe_paths() {
  std::string in_library = "built:";
  std::string available = "available:";
  for (const CpuPathInfo& info : cpu_paths()) {
    if (built(info.path)) in_library += " " + std::string(info.name);
    if (info.available) available += " " + std::string(info.name);
  }
  const CpuPathChoice& choice = cpu_path_choice();
  return in_library + "\n" + available + "\nchosen: " + choice.chosen.name + "\ncuda: " + kCuda +
         "\ncompiler: " + kCompiler + "\nproblem: " + choice.problem + "\n";
}

// Without a GPU the operators for one are left out: ONNX Runtime would take their types for all
// that an operator can do, and would not fall back to the body of one that has no other kernel.
bool is_usable(const ort::CustomOp& op) {
#if defined(CONFPRESS_CUDA)
  static const bool gpu = cuda::has_gpu();
  return gpu || std::string(op.GetExecutionProviderType(&op)) != cuda::kProviderName;
#else
  static_cast<void>(op);
  return true;
#endif
}

ort::CustomOpDomain* make_domain(const ort::Api& api) {
  ort::CustomOpDomain* domain = nullptr;
  check(api, api.CreateCustomOpDomain(kDomain, &domain), "make the operators' domain");
  for (const OperatorEntry* entry = OperatorEntry::first(); entry; entry = entry->next) {
    if (!is_usable(entry->op)) continue;
    check(api, api.CustomOpDomain_Add(domain, &entry->op), "add an operator to its domain");
  }
  return domain;
}

// Session options only refer to a domain, so it lives as long as the process: one for each runtime
// in it, for a program can hold several (a speech toolkit brings its own).
ort::CustomOpDomain* domain_for(const ort::Api& api) {
  static std::mutex mutex;
  static std::map<const ort::Api*, ort::CustomOpDomain*> domains;
  const std::lock_guard<std::mutex> lock(mutex);
  ort::CustomOpDomain*& domain = domains[&api];
  if (domain == nullptr) domain = make_domain(api);
  return domain;
}

}  // namespace
}  // namespace confpress

#define CONFPRESS_EXPORT extern "C" __attribute__((visibility("default")))

// Lines `key: value` with the keys built, available (names, slow to fast), chosen, cuda
// (architectures of GPUs that the library has operators for), compiler and problem (empty, or why
// CONFPRESS_KERNELS cannot be followed). Null when memory is exhausted.
CONFPRESS_EXPORT const char* confpress_kernel_paths() {
  try {
    static const std::string description = confpress::describe_paths();
    return description.c_str();
  } catch (...) {
    return nullptr;
  }
}

// Called by SessionOptions.register_custom_ops_library.
CONFPRESS_EXPORT confpress::ort::Status* RegisterCustomOps(confpress::ort::SessionOptions* options,
                                                           const confpress::ort::ApiBase* base) {
  using namespace confpress;
  const ort::Api* api = base->GetApi(ort::kApiVersion);
  // A runtime that does not know this version has printed so itself; there is no table to make a
  // status with, and without the domain the function bodies run.
  if (api == nullptr) return nullptr;
  return guarded(*api, [&] {
    if (!cpu_path_choice().problem.empty()) throw Error(cpu_path_choice().problem);
    check(*api, api->AddCustomOpDomain(options, domain_for(*api)),
          "register the operators' domain");
  });
}

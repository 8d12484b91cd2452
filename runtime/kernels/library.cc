// The two entries of the library: one for ONNX Runtime, one for `confpress kernels`.
#include <string>

#include "cpu_path.h"

namespace confpress {
namespace {

#if defined(__clang__)
constexpr char kCompiler[] = "Clang " __clang_version__;
#elif defined(__GNUC__)
constexpr char kCompiler[] = "GCC " __VERSION__;
#else
constexpr char kCompiler[] = "unknown";
#endif

std::string describe_paths() {
  std::string built = "built:";
  std::string available = "available:";
  for (const CpuPathInfo& info : cpu_paths()) {
    if (info.built) built += " " + std::string(info.name);
    if (info.available) available += " " + std::string(info.name);
  }
  const CpuPathChoice& choice = cpu_path_choice();
  return built + "\n" + available + "\nchosen: " + choice.chosen.name + "\ncompiler: " + kCompiler +
         "\nproblem: " + choice.problem + "\n";
}

}  // namespace
}  // namespace confpress

#define CONFPRESS_EXPORT extern "C" __attribute__((visibility("default")))

// Lines `key: value` with the keys built, available (names, slow to fast), chosen, compiler and
// problem (empty, or why CONFPRESS_KERNELS cannot be followed). Null when memory is exhausted.
CONFPRESS_EXPORT const char* confpress_kernel_paths() {
  try {
    static const std::string description = confpress::describe_paths();
    return description.c_str();
  } catch (...) {
    return nullptr;
  }
}

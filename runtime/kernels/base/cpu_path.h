// Which instruction sets the library was built with, which the processor offers, which one is used.
#pragma once

#include <string>
#include <vector>

namespace confpress {

// The instruction sets that kernels are written for, slow to fast.
enum class CpuPath { kPortable, kAvx2, kAvxVnni, kAvx512Vnni, kAvx512Vbmi, kAmx, kNeonDot };

// Whether this library contains the kernels of a path.
constexpr bool built(CpuPath path) {
  switch (path) {
    case CpuPath::kPortable:
#if defined(CONFPRESS_HAS_AVX2)
    case CpuPath::kAvx2:
#endif
#if defined(CONFPRESS_HAS_AVXVNNI)
    case CpuPath::kAvxVnni:
#endif
#if defined(CONFPRESS_HAS_AVX512VNNI)
    case CpuPath::kAvx512Vnni:
#endif
#if defined(CONFPRESS_HAS_AVX512VBMI)
    case CpuPath::kAvx512Vbmi:
#endif
#if defined(CONFPRESS_HAS_AMX)
    case CpuPath::kAmx:
#endif
#if defined(CONFPRESS_HAS_NEONDOT)
    case CpuPath::kNeonDot:
#endif
      return true;
    default:
      return false;
  }
}

struct CpuPathInfo {
  CpuPath path;
  const char* name;  // as in CONFPRESS_KERNELS and in the suffix of the source files
  bool available;    // the processor and the operating system can run it
};

// All paths, slow to fast.
const std::vector<CpuPathInfo>& cpu_paths();

// The path of this process: the fastest that is built and available, or the one that
// CONFPRESS_KERNELS names. Decided at the first call; `problem` is then empty, or the sentence that
// says why the named path cannot be used.
struct CpuPathChoice {
  CpuPathInfo chosen;
  std::string problem;
};
const CpuPathChoice& cpu_path_choice();

// Whether this process runs kernels of a built path: of its own, and of slower ones of the
// processor. An operator has kernels for some paths and takes the fastest of those.
bool uses(CpuPath path);

}  // namespace confpress

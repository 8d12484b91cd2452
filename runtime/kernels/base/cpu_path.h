// Which instruction sets the library was built with, which the processor offers, which one is used.
#pragma once

#include <string>
#include <vector>

namespace confpress {

// One implementation of every kernel; ordered from slow to fast. An operator to which kAvxVnni,
// kAvx512Vbmi or kAmx brings nothing has there what it has for an older one.
enum class CpuPath { kPortable, kAvx2, kAvxVnni, kAvx512Vnni, kAvx512Vbmi, kAmx, kNeonDot };

struct CpuPathInfo {
  CpuPath path;
  const char* name;  // as in CONFPRESS_KERNELS and in the suffix of the source files
  bool built;        // compiled into this library
  bool available;    // the processor and the operating system can run it
};

// All paths, slow to fast.
const std::vector<CpuPathInfo>& cpu_paths();

// The path that every kernel of this process uses: the fastest that is built and available, or the
// one that CONFPRESS_KERNELS names. Decided at the first call; `problem` is then empty, or the
// sentence that says why the named path cannot be used.
struct CpuPathChoice {
  CpuPathInfo chosen;
  std::string problem;
};
const CpuPathChoice& cpu_path_choice();

}  // namespace confpress

#include "base/cpu_path.h"

#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace confpress {
namespace {

#if defined(CONFPRESS_EMULATE)
constexpr bool kEmulates = true;
#else
constexpr bool kEmulates = false;
#endif

struct Processor {
  bool avx2 = false;
  bool avxvnni = false;
  bool avx512vnni = false;
  bool avx512vbmi = false;
  bool amx = false;
  bool neondot = false;
};

#if defined(__x86_64__)
// XCR0 says which registers the operating system saves: an instruction set that the processor has
// but whose registers are not saved must not be used.
uint64_t saved_registers() {
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

// Linux gives a process the registers of tiles when it asks for them, once for all its threads. It
// refuses where a thread's stack for signals has no room for them.
bool tiles_are_granted() {
#if defined(__linux__)
  constexpr long kRequestRegisters = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestRegisters, kTileData) == 0;
#else
  return false;
#endif
}

Processor examine_processor() {
  constexpr uint32_t kOsxsave = 1u << 27;  // leaf 1, ecx
  constexpr uint32_t kFma = 1u << 12;
  constexpr uint32_t kAvx2 = 1u << 5;  // leaf 7, ebx
  constexpr uint32_t kAvx512FDqBwVl = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);
  constexpr uint32_t kAvx512Vbmi = 1u << 1;  // leaf 7, ecx
  constexpr uint32_t kAvx512Vnni = 1u << 11;
  constexpr uint32_t kAmx = (1u << 22) | (1u << 24) | (1u << 25);  // edx: bfloat16, tiles, int8
  constexpr uint32_t kAvxVnni = 1u << 4;                           // leaf 7.1, eax
  constexpr uint32_t kAvx512Bf16 = 1u << 5;
  constexpr uint64_t kYmmSaved = 0x6;        // SSE and AVX state
  constexpr uint64_t kZmmSaved = 0xe6;       // and opmask, ZMM0-15, ZMM16-31
  constexpr uint64_t kTilesSaved = 0x60000;  // TILECFG and TILEDATA

  Processor processor;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & kOsxsave)) return processor;
  const uint64_t saved = saved_registers();
  const bool fma = c & kFma;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return processor;
  processor.avx2 = fma && (b & kAvx2) && (saved & kYmmSaved) == kYmmSaved;
  processor.avx512vnni = (b & kAvx512FDqBwVl) == kAvx512FDqBwVl && (c & kAvx512Vnni) &&
                         (saved & kZmmSaved) == kZmmSaved;
  processor.avx512vbmi = processor.avx512vnni && (kEmulates || (c & kAvx512Vbmi));
  const bool tiles = (d & kAmx) == kAmx && (saved & kTilesSaved) == kTilesSaved;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) a = 0;
  processor.avxvnni = (kEmulates && processor.avx512vnni) || (processor.avx2 && (a & kAvxVnni));
  processor.amx =
      processor.avx512vbmi && (kEmulates || (tiles && (a & kAvx512Bf16) && tiles_are_granted()));
  return processor;
}
#elif defined(__aarch64__) && defined(__linux__)
Processor examine_processor() {
  constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP
  Processor processor;
  processor.neondot = getauxval(AT_HWCAP) & kDotProduct;
  return processor;
}
#elif defined(__aarch64__) && defined(__APPLE__)
Processor examine_processor() {
  Processor processor;
  processor.neondot = true;  // every processor that runs this
  return processor;
}
#else
Processor examine_processor() { return {}; }
#endif

std::string joined_names() {
  std::string names;
  for (const CpuPathInfo& info : cpu_paths())
    names += (names.empty() ? "" : ", ") + std::string(info.name);
  return names;
}

CpuPathChoice choose() {
  CpuPathChoice choice{cpu_paths().front(), ""};
  for (const CpuPathInfo& info : cpu_paths()) {
    if (built(info.path) && info.available) choice.chosen = info;
  }
  const char* wanted = std::getenv("CONFPRESS_KERNELS");
  if (wanted == nullptr || *wanted == '\0') return choice;

  const std::string start = "CONFPRESS_KERNELS is '" + std::string(wanted) + "', ";
  for (const CpuPathInfo& info : cpu_paths()) {
    if (wanted != std::string(info.name)) continue;
    if (!built(info.path)) {
      choice.problem = start + "which this build of the kernel library does not contain.";
    } else if (!info.available) {
      choice.problem = start + "which this processor does not offer.";
    } else {
      choice.chosen = info;
    }
    return choice;
  }
  choice.problem = start + "which is none of " + joined_names() + ".";
  return choice;
}

}  // namespace

const std::vector<CpuPathInfo>& cpu_paths() {
  static const std::vector<CpuPathInfo> paths = [] {
    const Processor processor = examine_processor();
    return std::vector<CpuPathInfo>{
        {CpuPath::kPortable, "portable", true},
        {CpuPath::kAvx2, "avx2", processor.avx2},
        {CpuPath::kAvxVnni, "avxvnni", processor.avxvnni},
        {CpuPath::kAvx512Vnni, "avx512vnni", processor.avx512vnni},
        {CpuPath::kAvx512Vbmi, "avx512vbmi", processor.avx512vbmi},
        {CpuPath::kAmx, "amx", processor.amx},
        {CpuPath::kNeonDot, "neondot", processor.neondot},
    };
  }();
  return paths;
}

const CpuPathChoice& cpu_path_choice() {
  static const CpuPathChoice choice = choose();
  return choice;
}

bool uses(CpuPath path) {
  return path <= cpu_path_choice().chosen.path && cpu_paths()[static_cast<size_t>(path)].available;
}

}  // namespace confpress

// What a processor's registers can multiply in a second, without memory:
//   peaks <path of the kernel library>
// prints lines `name GOP/s`, a multiplication and an addition being two operations. `sparse` are the
// instructions of SparseLinear for the same number of useful products, `float32` are those of an
// ideal dense product in that instruction set.
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { kRounds = 500000, kTurns = 40 };

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define CLOBBERS                                                                               \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",     \
      "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
// Twelve, or six, that do not wait for each other; the operands are in registers 12 and 13.
#define TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define SIX(X) X(0, 6) X(1, 7) X(2, 8) X(3, 9) X(4, 10) X(5, 11)

#define MEASURE(name, code, operations)                                                        \
  do {                                                                                         \
    double best = 0;                                                                           \
    __asm__ volatile("vzeroall" ::: CLOBBERS); /* no denormal floats, which are slow */        \
    for (int turn = 0; turn < kTurns; ++turn) {                                                \
      const double start = seconds();                                                          \
      for (int i = 0; i < kRounds; ++i) __asm__ volatile(code ::: CLOBBERS);                   \
      const double rate = (double)(operations) * kRounds / (seconds() - start) / 1e9;          \
      if (rate > best) best = rate;                                                            \
    }                                                                                          \
    printf("%s %.0f\n", name, best);                                                           \
  } while (0)

#define ZMM_FMA(a) "vfmadd231ps %%zmm12, %%zmm13, %%zmm" #a "\n"
#define ZMM_DOT(a) "vpdpbusd %%zmm12, %%zmm13, %%zmm" #a "\n"
#define ZMM_SPARSE(a, b) "vpshufb %%zmm12, %%zmm13, %%zmm" #b "\n" ZMM_DOT(a)
#define YMM_FMA(a) "vfmadd231ps %%ymm12, %%ymm13, %%ymm" #a "\n"
#define YMM_DENSE(a, b)                                                                        \
  "vpmaddwd %%ymm12, %%ymm13, %%ymm" #b "\n vpaddd %%ymm" #b ", %%ymm" #a ", %%ymm" #a "\n"
#define YMM_DENSE7(a, b)                                                                       \
  "vpmaddubsw %%ymm13, %%ymm12, %%ymm" #b "\n vpmaddwd %%ymm" #b ", %%ymm12, %%ymm" #b "\n"    \
  "vpaddd %%ymm" #b ", %%ymm" #a ", %%ymm" #a "\n"
#define YMM_SPARSE7(a, b)                                                                      \
  "vpshufb %%ymm12, %%ymm13, %%ymm" #b "\n vpmaddubsw %%ymm12, %%ymm" #b ", %%ymm" #b "\n"     \
  "vpmaddwd %%ymm" #b ", %%ymm12, %%ymm" #b "\n vpaddd %%ymm" #b ", %%ymm" #a ", %%ymm" #a "\n"
#define YMM_SPARSE(a, b)                                                                       \
  "vpshufb %%ymm12, %%ymm13, %%ymm" #b "\n vpsignb %%ymm12, %%ymm" #b ", %%ymm" #b "\n"        \
  "vpmaddubsw %%ymm" #b ", %%ymm12, %%ymm" #b "\n vpmaddwd %%ymm" #b ", %%ymm12, %%ymm" #b "\n" \
  "vpaddd %%ymm" #b ", %%ymm" #a ", %%ymm" #a "\n"

int main(int count, char** arguments) {
  const char* path = count > 1 ? arguments[1] : "";
  if (strncmp(path, "avx512", 6) == 0) {
    MEASURE("float32", TWELVE(ZMM_FMA), 12 * 32);
    MEASURE("int8", TWELVE(ZMM_DOT), 12 * 128);
    MEASURE("sparse", SIX(ZMM_SPARSE), 6 * 128);
  } else if (strcmp(path, "avx2") == 0) {
    MEASURE("float32", TWELVE(YMM_FMA), 12 * 16);
    MEASURE("int8", SIX(YMM_DENSE), 6 * 32);
    MEASURE("sparse", SIX(YMM_SPARSE), 6 * 64);
    MEASURE("int8 of 7 bits", SIX(YMM_DENSE7), 6 * 64);
    MEASURE("sparse of 7 bits", SIX(YMM_SPARSE7), 6 * 64);
  }
  return 0;
}

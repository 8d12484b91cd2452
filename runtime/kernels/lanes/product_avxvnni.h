// The product of AVX-VNNI, for tiles of registers of 32 bytes.
#pragma once

#include <immintrin.h>

namespace confpress {
namespace {

// vpdpbusd adds four products of unsigned codes and signed weights to an int32 without saturating;
// it is the one instruction of AVX-VNNI. Assembly because GCC 12 copies every accumulator around
// the intrinsic. Tests emulate it on processors that have the same instruction in AVX-512's
// encoding alone.
struct UnsignedProduct {
  explicit UnsignedProduct(__m256i w) : weights(w) {}
  [[gnu::always_inline]] void add(__m256i& sums, __m256i x) const {
#if defined(CONFPRESS_EMULATE)
    __asm__("%{evex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(x), "x"(weights));
#else
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(x), "x"(weights));
#endif
  }
  __m256i weights;
};

}  // namespace
}  // namespace confpress

// The one instruction of AVX-VNNI.
#pragma once

#include <immintrin.h>

namespace confpress::avxvnni {

// Adds to each int32 the four products of unsigned codes and signed weights. Assembly because GCC
// 12 copies every accumulator around the intrinsic. Tests emulate it on processors that have the
// same instruction in AVX-512's encoding alone.
[[gnu::always_inline]] static inline void add_products(__m256i& sums, __m256i codes,
                                                       __m256i weights) {
#if defined(CONFPRESS_EMULATE)
  __asm__("%{evex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(codes), "x"(weights));
#else
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(codes), "x"(weights));
#endif
}

}  // namespace confpress::avxvnni

// The one instruction of AVX-512 VBMI that kernels use.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace confpress::avx512 {

// Byte i is table[places[i] mod 64].
[[gnu::always_inline]] static inline __m512i permute_bytes(__m512i table, __m512i places) {
#if defined(CONFPRESS_EMULATE)
  // For tests on processors without it.
  alignas(64) uint8_t from[64];
  alignas(64) uint8_t at[64];
  _mm512_store_si512(from, table);
  _mm512_store_si512(at, places);
  for (uint8_t& byte : at) byte = from[byte % 64];
  return _mm512_load_si512(at);
#else
  __m512i bytes;
  __asm__ volatile("vpermb %1, %2, %0" : "=v"(bytes) : "v"(table), "v"(places));
  return bytes;
#endif
}

}  // namespace confpress::avx512

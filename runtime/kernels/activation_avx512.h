// Activations on sixteen floats, for the `*_avx512*.cc` files.
#pragma once

#include <immintrin.h>

#include "activation.h"

namespace confpress::avx512 {

// All functions here take several registers and do each step for all of them: one register's steps
// depend on each other, and the processor would wait for them.
#define CONFPRESS_EACH(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < n; ++i)

// exp(-z) for z in [-87, 87].
template <int n>
static inline void exp_of_negative(const __m512 (&z)[n], __m512 (&out)[n]) {
  const __m512 minus_log2e = _mm512_set1_ps(-kLog2E);
  const __m512 shift = _mm512_set1_ps(kRoundingShift);
  __m512 shifted[n];
  __m512 r[n];
  CONFPRESS_EACH(i, n) shifted[i] = _mm512_fmadd_ps(z[i], minus_log2e, shift);
  CONFPRESS_EACH(i, n) r[i] = _mm512_sub_ps(shifted[i], shift);
  CONFPRESS_EACH(i, n) r[i] = _mm512_fmsub_ps(z[i], minus_log2e, r[i]);
  CONFPRESS_EACH(i, n) out[i] = _mm512_set1_ps(kExp2[0]);
#pragma GCC unroll 5
  for (int term = 1; term < 6; ++term) {
    CONFPRESS_EACH(i, n) out[i] = _mm512_fmadd_ps(out[i], r[i], _mm512_set1_ps(kExp2[term]));
  }
  CONFPRESS_EACH(i, n) {
    const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted[i]), 23);
    out[i] = _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(out[i]), exponent));
  }
}

// 1 / x within 2e-7 of itself: the processor's 14 bits and one step of Newton's method, in half the
// time of a division.
template <int n>
static inline void reciprocal(__m512 (&x)[n]) {
  __m512 guess[n];
  CONFPRESS_EACH(i, n) guess[i] = _mm512_rcp14_ps(x[i]);
  CONFPRESS_EACH(i, n) x[i] = _mm512_fnmadd_ps(x[i], guess[i], _mm512_set1_ps(1.0f));
  CONFPRESS_EACH(i, n) x[i] = _mm512_fmadd_ps(guess[i], x[i], guess[i]);
}

template <int n>
static inline void silu(__m512 (&z)[n]) {
  constexpr int kSmallerMagnitude = 0x02;  // with the first operand's sign
  const __m512 bound = _mm512_set1_ps(kSiluBound);
  __m512 x[n];
  __m512 e[n];
  CONFPRESS_EACH(i, n) x[i] = _mm512_range_ps(z[i], bound, kSmallerMagnitude);
  exp_of_negative(x, e);
  CONFPRESS_EACH(i, n) e[i] = _mm512_add_ps(_mm512_set1_ps(1.0f), e[i]);
  reciprocal(e);
  CONFPRESS_EACH(i, n) {
    // "Not less" also keeps NaN.
    const __mmask16 above = _mm512_cmp_ps_mask(z[i], _mm512_set1_ps(-kSiluBound), _CMP_NLT_UQ);
    z[i] = _mm512_maskz_mul_ps(above, z[i], e[i]);
  }
}

template <Activation kind, int n>
static inline void activate(__m512 (&z)[n]) {
  if constexpr (kind == Activation::kSilu) silu(z);
}

#undef CONFPRESS_EACH

}  // namespace confpress::avx512

// Activations on eight floats, for the `*_avx2.cc` files.
#pragma once

#include <immintrin.h>

#include "activation.h"

namespace confpress::avx2 {

// exp(-z) for z in [-87, 87].
static inline __m256 exp_of_negative(__m256 z) {
  const __m256 minus_log2e = _mm256_set1_ps(-kLog2E);
  const __m256 shift = _mm256_set1_ps(kRoundingShift);
  const __m256 shifted = _mm256_fmadd_ps(z, minus_log2e, shift);
  const __m256 n = _mm256_sub_ps(shifted, shift);
  const __m256 r = _mm256_fmsub_ps(z, minus_log2e, n);
  __m256 p = _mm256_set1_ps(kExp2[0]);
#pragma GCC unroll 5
  for (int i = 1; i < 6; ++i) p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExp2[i]));
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
}

static inline __m256 silu(__m256 z) {
  const __m256 bound = _mm256_set1_ps(kSiluBound);
  const __m256 least = _mm256_sub_ps(_mm256_setzero_ps(), bound);
  const __m256 bounded = _mm256_min_ps(_mm256_max_ps(z, least), bound);
  const __m256 y = _mm256_div_ps(z, _mm256_add_ps(_mm256_set1_ps(1.0f), exp_of_negative(bounded)));
  return _mm256_and_ps(y, _mm256_cmp_ps(z, least, _CMP_NLT_UQ));  // "not less" also keeps NaN
}

template <Activation kind>
static inline __m256 activate(__m256 z) {
  if constexpr (kind == Activation::kSilu) return silu(z);
  return z;
}

}  // namespace confpress::avx2

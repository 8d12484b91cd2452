// Activations on eight floats, for the `*_avx2.cc` files.
#pragma once

#include <immintrin.h>

#include "activation.h"

namespace confpress::avx2 {

static inline __m256 exp(__m256 x) {
  const __m256 log2e = _mm256_set1_ps(kLog2E);
  const __m256 n =
      _mm256_round_ps(_mm256_mul_ps(x, log2e), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m256 r = _mm256_fmsub_ps(x, log2e, n);
  __m256 p = _mm256_set1_ps(kExp2[0]);
  for (int i = 1; i < 6; ++i) p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExp2[i]));
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
}

static inline __m256 silu(__m256 z) {
  const __m256 bounded =
      _mm256_min_ps(_mm256_max_ps(z, _mm256_set1_ps(kSiluLeast)), _mm256_set1_ps(kSiluMost));
  const __m256 e = exp(_mm256_sub_ps(_mm256_setzero_ps(), bounded));
  return _mm256_div_ps(z, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

template <Activation kind>
static inline __m256 activate(__m256 z) {
  if constexpr (kind == Activation::kSilu) return silu(z);
  return z;
}

}  // namespace confpress::avx2

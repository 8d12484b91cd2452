// What half a strip's products end with, for the `*_avx*.cc` files of linear layers.
#pragma once

#include <immintrin.h>

#include "activation_avx2.h"
#include "linear_int8.h"

namespace confpress::avx2 {

constexpr size_t kLanes = 8;  // rows of half a strip

// `sums` began with the offsets.
template <Activation kind, class Problem>
static inline void finish(const Problem& p, __m256i sums, size_t frame, size_t row) {
  const __m256 product =
      _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(p.frame_scales[frame]));
  const __m256 z = _mm256_add_ps(_mm256_mul_ps(product, _mm256_loadu_ps(p.row_scales + row)),
                                 _mm256_loadu_ps(p.bias + row));
  const __m256 y = activate<kind>(z);
  float* out = p.y + frame * p.rows + row;
  const size_t left = p.rows - row;
  if (left >= kLanes) {
    _mm256_storeu_ps(out, y);
  } else {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(left)), lane);
    _mm256_maskstore_ps(out, mask, y);
  }
}

}  // namespace confpress::avx2

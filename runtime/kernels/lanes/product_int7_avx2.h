// The product of weights that fit_int7, for tiles of registers of 32 bytes.
#pragma once

#include <immintrin.h>

namespace confpress {
namespace {

// vpmaddubsw multiplies unsigned codes as they are: with these weights its int16 do not saturate.
struct Int7Product {
  explicit Int7Product(__m256i w) : weights(w) {}
  [[gnu::always_inline]] void add(__m256i& sums, __m256i x) const {
    const __m256i pairs = _mm256_maddubs_epi16(x, weights);
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  __m256i weights;
};

}  // namespace
}  // namespace confpress

#include <immintrin.h>

#include <cstring>

#include "frames/row_codes.h"
#include "lanes/lanes_avx2.h"

namespace confpress {
namespace {

using avx2::Lanes;

// Codes of eight floats, as int32.
__m256i codes_of(__m256 x, __m256 inverse, __m256i zeros) {
  return _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(x, inverse)), zeros);
}

// Eight int32 as bytes, those above 255 as 255.
__m128i packed(__m256i codes) {
  const __m128i words =
      _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
  return _mm_packus_epi16(words, words);
}

}  // namespace

void quantize_row_avx2(const float* row, size_t length, uint8_t* codes, float* scale,
                       uint8_t* zero) noexcept {
  __m256 low = Lanes::zero();
  __m256 high = Lanes::zero();
  __m256 poison = Lanes::zero();  // an infinity or NaN times zero is NaN
  for (size_t i = 0; i < length; i += Lanes::kWidth) {
    const __m256 x = Lanes::load(row + i, length - i);
    low = Lanes::min(low, x);
    high = Lanes::max(high, x);
    poison = Lanes::fma(x, Lanes::zero(), poison);
  }
  const bool finite = _mm256_movemask_ps(_mm256_cmp_ps(poison, poison, _CMP_UNORD_Q)) == 0;
  const float lowest = -Lanes::largest(Lanes::sub(Lanes::zero(), low));
  const RowScale s = row_scale(lowest, Lanes::largest(high), finite);
  *scale = s.scale;
  *zero = s.zero;
  if (!finite) {
    std::memset(codes, 0, length);
    return;
  }
  const __m256 inverse = Lanes::all(s.inverse);
  const __m256i zeros = _mm256_set1_epi32(s.zero);
  for (size_t i = 0; i < length; i += Lanes::kWidth) {
    const __m128i bytes = packed(codes_of(Lanes::load(row + i, length - i), inverse, zeros));
    if (length - i >= Lanes::kWidth) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(codes + i), bytes);
    } else {
      uint8_t last[16];
      _mm_storeu_si128(reinterpret_cast<__m128i*>(last), bytes);
      std::memcpy(codes + i, last, length - i);
    }
  }
}

}  // namespace confpress

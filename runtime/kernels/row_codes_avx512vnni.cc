#include <immintrin.h>

#include <cstring>

#include "row_codes.h"

namespace confpress {
namespace {

constexpr size_t kLanes = 16;

__mmask16 first_lanes(size_t count) {
  return static_cast<__mmask16>(count < kLanes ? (1u << count) - 1 : 0xffffu);
}

}  // namespace

void quantize_row_avx512vnni(const float* row, size_t length, uint8_t* codes, float* scale,
                             uint8_t* zero) noexcept {
  __m512 low = _mm512_setzero_ps();
  __m512 high = _mm512_setzero_ps();
  __m512 poison = _mm512_setzero_ps();  // an infinity or NaN times zero is NaN
  for (size_t i = 0; i < length; i += kLanes) {
    const __m512 x = _mm512_maskz_loadu_ps(first_lanes(length - i), row + i);
    low = _mm512_min_ps(low, x);
    high = _mm512_max_ps(high, x);
    poison = _mm512_fmadd_ps(x, _mm512_setzero_ps(), poison);
  }
  const bool finite = _mm512_cmp_ps_mask(poison, poison, _CMP_UNORD_Q) == 0;
  const RowScale s = row_scale(_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high), finite);
  *scale = s.scale;
  *zero = s.zero;
  if (!finite) {
    std::memset(codes, 0, length);
    return;
  }
  const __m512 inverse = _mm512_set1_ps(s.inverse);
  const __m512i zeros = _mm512_set1_epi32(s.zero);
  for (size_t i = 0; i < length; i += kLanes) {
    const __mmask16 lanes = first_lanes(length - i);
    const __m512 x = _mm512_maskz_loadu_ps(lanes, row + i);
    const __m512i code = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x, inverse)), zeros);
    _mm512_mask_cvtusepi32_storeu_epi8(codes + i, lanes, code);
  }
}

}  // namespace confpress

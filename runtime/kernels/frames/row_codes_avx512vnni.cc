#include <immintrin.h>

#include <cstring>

#include "frames/row_codes.h"

namespace confpress {
namespace {

constexpr size_t kLanes = 16;

__mmask16 first_lanes(size_t count) {
  return static_cast<__mmask16>(count < kLanes ? (1u << count) - 1 : 0xffffu);
}

constexpr size_t kRun = 4 * kLanes;

// What decides a row's scale, of some of its numbers.
struct Extremes {
  __m512 low = _mm512_setzero_ps();
  __m512 high = _mm512_setzero_ps();
  __m512 poison = _mm512_setzero_ps();  // an infinity or NaN times zero is NaN

  void take(__m512 x) {
    low = _mm512_min_ps(low, x);
    high = _mm512_max_ps(high, x);
    poison = _mm512_fmadd_ps(x, _mm512_setzero_ps(), poison);
  }
  void take(const Extremes& other) {
    low = _mm512_min_ps(low, other.low);
    high = _mm512_max_ps(high, other.high);
    poison = _mm512_add_ps(poison, other.poison);
  }
};

Extremes extremes_of(const float* row, size_t length) {
  Extremes of[4];
  size_t i = 0;
  for (; i + kRun <= length; i += kRun) {
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) of[j].take(_mm512_loadu_ps(row + i + j * kLanes));
  }
  for (; i < length; i += kLanes) {
    of[0].take(_mm512_maskz_loadu_ps(first_lanes(length - i), row + i));
  }
  for (size_t j = 1; j < 4; ++j) of[0].take(of[j]);
  return of[0];
}

}  // namespace

void quantize_row_avx512vnni(const float* row, size_t length, uint8_t* codes, float* scale,
                             uint8_t* zero) noexcept {
  const Extremes e = extremes_of(row, length);
  const bool finite = _mm512_cmp_ps_mask(e.poison, e.poison, _CMP_UNORD_Q) == 0;
  const RowScale s = row_scale(_mm512_reduce_min_ps(e.low), _mm512_reduce_max_ps(e.high), finite);
  *scale = s.scale;
  *zero = s.zero;
  if (!finite) {
    std::memset(codes, 0, length);
    return;
  }
  const __m512 inverse = _mm512_set1_ps(s.inverse);
  const __m512i zeros = _mm512_set1_epi32(s.zero);
  const auto code = [&](__m512 x) {
    return _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x, inverse)), zeros);
  };
  // Packing works in each quarter of a register; this puts the words back in order.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  size_t i = 0;
  for (; i + kRun <= length; i += kRun) {
    __m512i of[4];
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) of[j] = code(_mm512_loadu_ps(row + i + j * kLanes));
    const __m512i low = _mm512_packus_epi32(of[0], of[1]);
    const __m512i high = _mm512_packus_epi32(of[2], of[3]);
    const __m512i bytes = _mm512_packus_epi16(low, high);
    _mm512_storeu_si512(codes + i, _mm512_permutexvar_epi32(order, bytes));
  }
  for (; i < length; i += kLanes) {
    const __mmask16 lanes = first_lanes(length - i);
    const __m512i last = code(_mm512_maskz_loadu_ps(lanes, row + i));
    _mm512_mask_cvtusepi32_storeu_epi8(codes + i, lanes, last);
  }
}

}  // namespace confpress

#include <immintrin.h>

#include "frame_codes.h"

namespace confpress {
namespace {

constexpr uint32_t kMagnitudeBits = 0x7fffffff;
constexpr uint32_t kInfinityBits = 0x7f800000;
constexpr size_t kLanes = 16;
static_assert(kLanes == kCodeRun);
constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

__mmask16 first_lanes(size_t count) {
  return static_cast<__mmask16>(count < kLanes ? (1u << count) - 1 : 0xffffu);
}

// As integers, the magnitudes of floats are ordered like floats, with infinity and NaN on top: one
// maximum serves the scale and the test for them.
uint32_t largest_magnitude_bits(const float* frame, size_t length) {
  const __m512i mask = _mm512_set1_epi32(static_cast<int>(kMagnitudeBits));
  __m512i even = _mm512_setzero_si512();
  __m512i odd = _mm512_setzero_si512();
  size_t k = 0;
  for (; k + 2 * kLanes <= length; k += 2 * kLanes) {
    even = _mm512_max_epi32(even, _mm512_and_si512(_mm512_loadu_si512(frame + k), mask));
    odd = _mm512_max_epi32(odd, _mm512_and_si512(_mm512_loadu_si512(frame + k + kLanes), mask));
  }
  for (; k < length; k += kLanes) {
    const __m512i x = _mm512_maskz_loadu_epi32(first_lanes(length - k), frame + k);
    even = _mm512_max_epi32(even, _mm512_and_si512(x, mask));
  }
  return static_cast<uint32_t>(_mm512_reduce_max_epi32(_mm512_max_epi32(even, odd)));
}

// round(x / s) without dividing. x · (1 / s) is within 127 · 2^-22 of the rounded quotient, so the
// two can only round to different integers where the product lies that close to the middle between
// two: then, about once in a thousand registers, it divides.
__m512i codes_of(__m512 x, __m512 s, __m512 reciprocal) {
  const __m512 product = _mm512_mul_ps(x, reciprocal);
  const __m512i codes = _mm512_cvt_roundps_epi32(product, kNearest);
  const __m512 distance = _mm512_abs_ps(_mm512_sub_ps(product, _mm512_cvtepi32_ps(codes)));
  const __m512 safe = _mm512_set1_ps(0.5f - 0x1p-14f);
  if (__builtin_expect(_mm512_cmp_ps_mask(distance, safe, _CMP_NLE_UQ) == 0, 1)) return codes;
  return _mm512_cvt_roundps_epi32(_mm512_div_ps(x, s), kNearest);
}

// 128 more, in bytes: the codes of the first operand of vpdpbusd are unsigned.
__m128i stored(__m512i codes) {
  return _mm_xor_si128(_mm512_cvtepi32_epi8(codes), _mm_set1_epi8(static_cast<char>(0x80)));
}

void quantize(const float* frame, size_t length, void* codes, float* scale) noexcept {
  auto* out = static_cast<uint8_t*>(codes);
  const uint32_t bits = largest_magnitude_bits(frame, length);
  float largest = 0.0f;
  __builtin_memcpy(&largest, &bits, sizeof largest);
  const float s = (largest > kEpsilon ? largest : kEpsilon) / kQmax;
  *scale = bits < kInfinityBits ? s : __builtin_nanf("");

  const __m512 scales = _mm512_set1_ps(s);
  const __m512 reciprocals = _mm512_set1_ps(1.0f / s);
  for (size_t k = 0; k < length; k += kLanes) {
    const __m512 x = _mm512_maskz_loadu_ps(first_lanes(length - k), frame + k);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + k), stored(codes_of(x, scales, reciprocals)));
  }
}

}  // namespace

const FrameQuantizer kFrameQuantizerAvx512Vnni{sizeof(uint8_t), 128, quantize};

}  // namespace confpress

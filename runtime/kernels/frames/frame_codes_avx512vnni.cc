#include <immintrin.h>

#include "frames/frame_codes.h"

namespace confpress {
namespace {

constexpr uint32_t kMagnitudeBits = 0x7fffffff;
constexpr size_t kLanes = 16;
static_assert(4 * kLanes == kCodeRun);
constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

__mmask16 first_lanes(size_t count) {
  return static_cast<__mmask16>(count < kLanes ? (1u << count) - 1 : 0xffffu);
}

float scale(const float* frame, size_t length) noexcept {
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
  const int largest = _mm512_reduce_max_epi32(_mm512_max_epi32(even, odd));
  return scale_of_magnitude(static_cast<uint32_t>(largest));
}

// 64 codes of a run of four registers, each plus 128: the first operand of vpdpbusd is unsigned.
__m512i packed(const __m512i codes[4]) {
  const __m512i low = _mm512_packs_epi32(codes[0], codes[1]);
  const __m512i high = _mm512_packs_epi32(codes[2], codes[3]);
  // Packing works in each quarter of a register; this puts the words back in order.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
  return _mm512_xor_si512(bytes, _mm512_set1_epi8(static_cast<char>(0x80)));
}

// round(x / s), without dividing where that is safe. x · (1 / s) and the rounded quotient differ by
// less than 2^-15 (each is within 127 · 2^-23 of the exact one), so they can only round to
// different integers where the product lies that close to the middle between two integers.
__m512i codes_of_run(const __m512 x[4], __m512 s, __m512 reciprocal) {
  constexpr int kLargerMagnitude = 0x0b;
  __m512i codes[4];
  __m512 distance = _mm512_setzero_ps();
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512 product = _mm512_mul_ps(x[i], reciprocal);
    codes[i] = _mm512_cvt_roundps_epi32(product, kNearest);
    const __m512 from_integer = _mm512_reduce_ps(product, _MM_FROUND_TO_NEAREST_INT);
    distance = _mm512_range_ps(distance, from_integer, kLargerMagnitude);
  }
  const __m512 safe = _mm512_set1_ps(0.5f - 0x1p-15f);
  if (__builtin_expect(_mm512_cmp_ps_mask(distance, safe, _CMP_GT_OQ) != 0, 0)) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      codes[i] = _mm512_cvt_roundps_epi32(_mm512_div_ps(x[i], s), kNearest);
  }
  return packed(codes);
}

void codes(const float* frame, size_t length, float scale, void* codes) noexcept {
  auto* out = static_cast<uint8_t*>(codes);
  const __m512 scales = _mm512_set1_ps(scale);
  const __m512 reciprocals = _mm512_set1_ps(1.0f / scale);
  size_t k = 0;
  for (; k + kCodeRun <= length; k += kCodeRun) {
    const __m512 x[4] = {_mm512_loadu_ps(frame + k), _mm512_loadu_ps(frame + k + kLanes),
                         _mm512_loadu_ps(frame + k + 2 * kLanes),
                         _mm512_loadu_ps(frame + k + 3 * kLanes)};
    _mm512_storeu_si512(out + k, codes_of_run(x, scales, reciprocals));
  }
  if (k < length) {
    __m512 x[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i) {
      const size_t start = k + i * kLanes;
      const __mmask16 lanes = first_lanes(start < length ? length - start : 0);
      x[i] = _mm512_maskz_loadu_ps(lanes, frame + start);
    }
    _mm512_storeu_si512(out + k, codes_of_run(x, scales, reciprocals));
  }
}

// Beyond the last group of four the bytes themselves are zeros: a tile reads other weights there.
void codes_then_zeros(const float* frame, size_t length, float scale, void* out) noexcept {
  codes(frame, length, scale, out);
  constexpr size_t kGroup = 4;
  const size_t end = (length + kGroup - 1) / kGroup * kGroup;
  const size_t rest = end % kCodeRun;
  if (rest == 0) return;
  const auto beyond = static_cast<__mmask64>(~uint64_t{0} << rest);
  auto* run = static_cast<uint8_t*>(out) + (end - rest);
  _mm512_mask_storeu_epi8(run, beyond, _mm512_setzero_si512());
}

}  // namespace

const FrameQuantizer kFrameQuantizerAvx512Vnni{sizeof(uint8_t), 128, scale, codes};
const FrameQuantizer kFrameQuantizerAmx{sizeof(uint8_t), 128, scale, codes_then_zeros};

}  // namespace confpress

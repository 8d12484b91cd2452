// Floats in the registers of AVX-512, for the `*_avx512vnni.cc` files; see lanes_portable.h for
// what every Lanes offers.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lanes/activation.h"

namespace confpress::avx512 {

struct Lanes {
  static constexpr size_t kWidth = 16;
  // 24 accumulators, 4 registers of the right operand and one of the left.
  static constexpr int kTileRows = 6;
  static constexpr int kTileStrips = 4;
  static constexpr int kTileFrames = 16;

  using Vec = __m512;
  using Mask = __mmask16;
  using Ints = __m512i;

  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec all(float x) { return _mm512_set1_ps(x); }
  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static Vec load(const float* p, size_t count) { return _mm512_maskz_loadu_ps(first(count), p); }
  // Bytes as floats.
  static Vec load(const uint8_t* p) {
    return floats_of(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Vec load(const uint8_t* p, size_t count) {
    return floats_of(_mm_maskz_loadu_epi8(first(count), p));
  }
  static void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
  static void store(float* p, Vec x, size_t count) { _mm512_mask_storeu_ps(p, first(count), x); }

  static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  static Vec fms(Vec a, Vec b, Vec c) { return _mm512_fmsub_ps(a, b, c); }
  static Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
  static Vec floats(Ints x) { return _mm512_cvtepi32_ps(x); }
  static Ints ints(int x) { return _mm512_set1_epi32(x); }
  static Ints load_ints(const int32_t* p) { return _mm512_loadu_si512(p); }
  static Ints mul_ints(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
  // The processor's 14 bits and one step of Newton's method, in half the time of a division.
  static Vec reciprocal(Vec x) {
    const Vec guess = _mm512_rcp14_ps(x);
    return fma(guess, _mm512_fnmadd_ps(x, guess, all(1.0f)), guess);
  }
  static Vec within(Vec x, float bound) {
    constexpr int kSmallerMagnitude = 0x02;  // with the first operand's sign
    return _mm512_range_ps(x, all(bound), kSmallerMagnitude);
  }
  static Mask not_below(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
  static float sum(Vec x) { return _mm512_reduce_add_ps(x); }
  static float largest(Vec x) { return _mm512_reduce_max_ps(x); }

  static Mask first(size_t count) {
    return static_cast<Mask>(count < kWidth ? (1u << count) - 1 : 0xffffu);
  }
  static Mask zeros(const uint8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm_testn_epi8_mask(bytes, bytes);
  }
  static Mask both(Mask a, Mask b) { return static_cast<Mask>(a & b); }
  static Vec select(Mask mask, Vec a, Vec b) { return _mm512_mask_blend_ps(mask, b, a); }

  static Vec power_of_two(Vec p, Vec shifted) {
    const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(max(shifted, zero())), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), exponent));
  }
  static Vec floats_of(__m128i bytes) { return floats(_mm512_cvtepu8_epi32(bytes)); }
  static Vec bfloat16(Vec x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(_mm512_set1_epi32(0x7fff), odd);
    const __m512i upper =
        _mm512_slli_epi32(_mm512_srli_epi32(_mm512_add_epi32(bits, half), 16), 16);
    return select(_mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), _mm512_castsi512_ps(upper), x);
  }
  static void transpose4(const float* in, size_t in_stride, float* out, size_t out_stride) {
    __m128 r0 = _mm_loadu_ps(in), r1 = _mm_loadu_ps(in + in_stride);
    __m128 r2 = _mm_loadu_ps(in + 2 * in_stride), r3 = _mm_loadu_ps(in + 3 * in_stride);
    _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
    _mm_storeu_ps(out, r0);
    _mm_storeu_ps(out + out_stride, r1);
    _mm_storeu_ps(out + 2 * out_stride, r2);
    _mm_storeu_ps(out + 3 * out_stride, r3);
  }
};

}  // namespace confpress::avx512

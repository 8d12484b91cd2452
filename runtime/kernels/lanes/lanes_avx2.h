// Floats in the registers of AVX2, for the `*_avx2.cc` files; see lanes_portable.h for what every
// Lanes offers.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lanes/activation.h"

namespace confpress::avx2 {

struct Lanes {
  static constexpr size_t kWidth = 8;
  // 12 accumulators, 2 registers of the right operand and one of the left.
  static constexpr int kTileRows = 6;
  static constexpr int kTileStrips = 2;
  static constexpr int kTileFrames = 8;

  using Vec = __m256;
  using Mask = __m256;  // all bits of a lane are equal
  using Ints = __m256i;

  static Vec zero() { return _mm256_setzero_ps(); }
  static Vec all(float x) { return _mm256_set1_ps(x); }
  static Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static Vec load(const float* p, size_t count) {
    return _mm256_maskload_ps(p, _mm256_castps_si256(first(count)));
  }
  // Bytes as floats.
  static Vec load(const uint8_t* p) {
    return floats(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static Vec load(const uint8_t* p, size_t count) {
    if (count >= kWidth) return load(p);
    uint8_t bytes[kWidth] = {};
    memcpy(bytes, p, count);
    return load(bytes);
  }
  static void store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
  static void store(float* p, Vec x, size_t count) {
    if (count >= kWidth) return store(p, x);
    _mm256_maskstore_ps(p, _mm256_castps_si256(first(count)), x);
  }

  static Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  static Vec fms(Vec a, Vec b, Vec c) { return _mm256_fmsub_ps(a, b, c); }
  static Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
  static Vec floats(Ints x) { return _mm256_cvtepi32_ps(x); }
  static Ints ints(int x) { return _mm256_set1_epi32(x); }
  static Ints load_ints(const int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Ints mul_ints(Ints a, Ints b) { return _mm256_mullo_epi32(a, b); }
  static Vec reciprocal(Vec x) { return div(all(1.0f), x); }
  static Vec within(Vec x, float bound) { return min(max(x, all(-bound)), all(bound)); }
  static Mask not_below(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_NLT_UQ); }
  static float sum(Vec x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  static float largest(Vec x) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }

  static Mask first(size_t count) {
    const __m256i places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i limit = _mm256_set1_epi32(static_cast<int>(count < kWidth ? count : kWidth));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, places));
  }
  static Mask zeros(const uint8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    const __m256i words = _mm256_cvtepu8_epi32(bytes);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(words, _mm256_setzero_si256()));
  }
  static Mask both(Mask a, Mask b) { return _mm256_and_ps(a, b); }
  static Vec select(Mask mask, Vec a, Vec b) { return _mm256_blendv_ps(b, a, mask); }

  static Vec power_of_two(Vec p, Vec shifted) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(max(shifted, zero())), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
  }
  static Vec bfloat16(Vec x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(_mm256_set1_epi32(0x7fff), odd);
    const __m256i upper =
        _mm256_slli_epi32(_mm256_srli_epi32(_mm256_add_epi32(bits, half), 16), 16);
    return select(_mm256_cmp_ps(x, x, _CMP_ORD_Q), _mm256_castsi256_ps(upper), x);
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

}  // namespace confpress::avx2

// Activations on four floats, for the `*_neondot.cc` files.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "activation.h"

namespace confpress::neon {

// exp(-z) for z in [-87, 87].
static inline float32x4_t exp_of_negative(float32x4_t z) {
  const float32x4_t scaled = vmulq_f32(z, vdupq_n_f32(-kLog2E));
  const float32x4_t n = vrndnq_f32(scaled);
  // The product's rounding error is too large for the fraction: taken again, without rounding.
  const float32x4_t r = vfmaq_f32(vnegq_f32(n), z, vdupq_n_f32(-kLog2E));
  float32x4_t p = vdupq_n_f32(kExp2[0]);
#pragma GCC unroll 5
  for (int i = 1; i < 6; ++i) p = vfmaq_f32(vdupq_n_f32(kExp2[i]), p, r);
  const int32x4_t exponent = vshlq_n_s32(vcvtq_s32_f32(n), 23);
  return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), exponent));
}

static inline float32x4_t silu(float32x4_t z) {
  const float32x4_t bound = vdupq_n_f32(kSiluBound);
  const float32x4_t bounded = vmaxq_f32(vminq_f32(z, bound), vnegq_f32(bound));
  const float32x4_t y = vdivq_f32(z, vaddq_f32(vdupq_n_f32(1.0f), exp_of_negative(bounded)));
  const uint32x4_t below = vcltq_f32(z, vnegq_f32(bound));  // false for NaN, which is kept
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(y), below));
}

static inline float32x4_t activate(Activation kind, float32x4_t z) {
  return kind == Activation::kSilu ? silu(z) : z;
}

// Stores the first `count` of four floats.
static inline void store(float* out, float32x4_t values, size_t count) {
  if (count >= 4) return vst1q_f32(out, values);
  float all[4];
  vst1q_f32(all, values);
  for (size_t i = 0; i < count; ++i) out[i] = all[i];
}

static inline float32x4_t load(const float* from, size_t count) {
  if (count >= 4) return vld1q_f32(from);
  float all[4] = {};
  for (size_t i = 0; i < count; ++i) all[i] = from[i];
  return vld1q_f32(all);
}

// A group's four codes, four times.
static inline int8x16_t broadcast_group(const int8_t* codes) {
  int32_t word = 0;
  __builtin_memcpy(&word, codes, sizeof word);
  return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

}  // namespace confpress::neon

// Floats in the registers of NEON, as far as the `*_neondot.cc` files need them; see
// lanes_portable.h for what Lanes offer.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "lanes/activation.h"

namespace confpress::neon {

struct Lanes {
  static constexpr size_t kWidth = 4;

  using Vec = float32x4_t;
  using Mask = uint32x4_t;
  using Ints = int32x4_t;

  static Vec zero() { return vdupq_n_f32(0.0f); }
  static Vec all(float x) { return vdupq_n_f32(x); }
  static Vec load(const float* p) { return vld1q_f32(p); }
  static Vec load(const float* p, size_t count) {
    if (count >= kWidth) return load(p);
    float some[kWidth] = {};
    for (size_t i = 0; i < count; ++i) some[i] = p[i];
    return load(some);
  }
  static void store(float* p, Vec x) { vst1q_f32(p, x); }
  static void store(float* p, Vec x, size_t count) {
    if (count >= kWidth) return store(p, x);
    float some[kWidth];
    store(some, x);
    for (size_t i = 0; i < count; ++i) p[i] = some[i];
  }

  static Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
  static Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
  static Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
  static Vec fms(Vec a, Vec b, Vec c) { return vfmaq_f32(vnegq_f32(c), a, b); }
  // NaN where either is.
  static Vec max(Vec a, Vec b) { return vmaxq_f32(a, b); }
  static Vec min(Vec a, Vec b) { return vminq_f32(a, b); }
  static Vec floats(Ints x) { return vcvtq_f32_s32(x); }
  static Vec reciprocal(Vec x) { return vdivq_f32(all(1.0f), x); }
  static Vec within(Vec x, float bound) { return min(max(x, all(-bound)), all(bound)); }
  static Mask not_below(Vec a, Vec b) { return vmvnq_u32(vcltq_f32(a, b)); }
  static Vec select(Mask mask, Vec a, Vec b) { return vbslq_f32(mask, a, b); }

  static Vec power_of_two(Vec p, Vec shifted) {
    const Vec numbers = vmaxnmq_f32(shifted, zero());
    const uint32x4_t exponent = vshlq_n_u32(vreinterpretq_u32_f32(numbers), 23);
    return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(p), exponent));
  }
};

}  // namespace confpress::neon

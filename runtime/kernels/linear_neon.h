// What a strip's products end with, for the `*_neondot.cc` files of linear layers.
#pragma once

#include "activation_neon.h"
#include "linear_int8.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress::neon {

constexpr size_t kLanes = 4;
constexpr int kQuarters = kStripRows / kLanes;  // registers of a strip

template <class Problem, int kFrames>
static inline void finish(const Problem& p, const int32x4_t (&sums)[kFrames][kQuarters],
                          size_t frame, size_t row) {
  CONFPRESS_UNROLL
  for (int f = 0; f < kFrames; ++f) {
    const float32x4_t frame_scale = vdupq_n_f32(p.frame_scales[frame + f]);
    CONFPRESS_UNROLL
    for (int i = 0; i < kQuarters; ++i) {
      const size_t at = row + i * kLanes;
      if (at >= p.rows) break;
      const float32x4_t product = vmulq_f32(vcvtq_f32_s32(sums[f][i]), frame_scale);
      const float32x4_t z =
          vaddq_f32(vmulq_f32(product, vld1q_f32(p.row_scales + at)), vld1q_f32(p.bias + at));
      store(p.y + (frame + f) * p.rows + at, activate(p.activation, z), p.rows - at);
    }
  }
}

}  // namespace confpress::neon

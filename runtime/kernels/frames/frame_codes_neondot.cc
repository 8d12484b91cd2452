#include <arm_neon.h>

#include <algorithm>

#include "frames/frame_codes.h"

namespace confpress {
namespace {

constexpr size_t kLanes = 4;
constexpr size_t kRun = 16;

int32x4_t codes_of(const float* frame, float32x4_t s) {
  return vcvtnq_s32_f32(vdivq_f32(vld1q_f32(frame), s));
}

// Codes lie within 127 of zero; the codes of a frame that is not finite mean nothing.
void quantize_run(const float* frame, float32x4_t s, int8_t* out) {
  const int16x8_t low =
      vcombine_s16(vqmovn_s32(codes_of(frame, s)), vqmovn_s32(codes_of(frame + kLanes, s)));
  const int16x8_t high = vcombine_s16(vqmovn_s32(codes_of(frame + 2 * kLanes, s)),
                                      vqmovn_s32(codes_of(frame + 3 * kLanes, s)));
  vst1q_s8(out, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
}

float scale(const float* frame, size_t length) noexcept {
  constexpr uint32_t kMagnitudeBits = 0x7fffffff;
  uint32x4_t words = vdupq_n_u32(0);
  size_t k = 0;
  for (; k + kLanes <= length; k += kLanes) {
    const uint32x4_t x = vreinterpretq_u32_f32(vld1q_f32(frame + k));
    words = vmaxq_u32(words, vandq_u32(x, vdupq_n_u32(kMagnitudeBits)));
  }
  uint32_t bits = vmaxvq_u32(words);
  for (; k < length; ++k) {
    uint32_t word = 0;
    __builtin_memcpy(&word, frame + k, sizeof word);
    bits = std::max(bits, word & kMagnitudeBits);
  }
  return scale_of_magnitude(bits);
}

void codes(const float* frame, size_t length, float scale, void* codes) noexcept {
  auto* out = static_cast<int8_t*>(codes);
  const float32x4_t scales = vdupq_n_f32(scale);
  size_t k = 0;
  for (; k + kRun <= length; k += kRun) quantize_run(frame + k, scales, out + k);
  if (k < length) {
    float rest[kRun] = {};
    std::copy(frame + k, frame + length, rest);
    quantize_run(rest, scales, out + k);
  }
}

}  // namespace

const FrameQuantizer kFrameQuantizerNeonDot{sizeof(int8_t), 0, scale, codes};

}  // namespace confpress

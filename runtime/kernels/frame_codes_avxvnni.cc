#include "frame_codes.h"
#include "narrow_codes_avx2.h"

namespace confpress {
namespace {

float scale(const float* frame, size_t length) noexcept {
  return kFrameQuantizerAvx2.scale(frame, length);
}

// Bytes, in room for AVX2's int16: the first operand of vpdpbusd is unsigned.
void codes(const float* frame, size_t length, float scale, void* codes) noexcept {
  kFrameQuantizerAvx2.codes(frame, length, scale, codes);
  avx2::narrow_codes(codes, length, 0x80);
}

}  // namespace

const FrameQuantizer kFrameQuantizerAvxVnni{sizeof(int16_t), 128, scale, codes};

}  // namespace confpress

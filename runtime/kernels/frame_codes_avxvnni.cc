#include "frame_codes.h"
#include "narrow_codes_avx2.h"

namespace confpress {
namespace {

// Bytes, in room for AVX2's int16: the first operand of vpdpbusd is unsigned.
void quantize(const float* frame, size_t length, void* codes, float* scale) noexcept {
  kFrameQuantizerAvx2.quantize(frame, length, codes, scale);
  avx2::narrow_codes(codes, length, 0x80);
}

}  // namespace

const FrameQuantizer kFrameQuantizerAvxVnni{sizeof(int16_t), 128, quantize};

}  // namespace confpress

// Quantisation of activations: one frame (row of X) to integer codes and a scale.
//
//   s = max(max |x|, kEpsilon) / 127        code = round(x / s), ties to even, in -127..127
//
// A frame that holds an infinity or NaN gets the scale NaN, which makes all its outputs NaN; its
// codes mean nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu_path.h"

namespace confpress {

constexpr float kEpsilon = 0x1p-40f;
constexpr float kQmax = 127.0f;
// Codes are written in whole runs of this many; those beyond the frame's length stand for zero.
constexpr size_t kCodeRun = 16;

// One instruction set's quantiser; how it stores a code is what its products want to read.
struct FrameQuantizer {
  size_t code_bytes;
  int32_t zero_point;  // a stored code is the code plus this

  // frame: [length]; codes: length rounded up to kCodeRun, `code_bytes` each; scale: [1].
  void (*quantize)(const float* frame, size_t length, void* codes, float* scale) noexcept;
};

extern const FrameQuantizer kFrameQuantizerPortable;    // int16
extern const FrameQuantizer kFrameQuantizerAvx2;        // int16
extern const FrameQuantizer kFrameQuantizerAvx512Vnni;  // uint8, the code plus 128

}  // namespace confpress

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
// A frame's codes need room for whole runs of this many; what is written beyond the frame's length
// stands for zero, at least up to the next multiple of 4.
constexpr size_t kCodeRun = 64;

// One instruction set's quantiser; how it stores a code is what its products want to read.
struct FrameQuantizer {
  size_t code_bytes;   // of room; never less than a stored code takes
  int32_t zero_point;  // a stored code is the code plus this

  // frame: [length]; codes: `code_bytes` each; scale: [1].
  void (*quantize)(const float* frame, size_t length, void* codes, float* scale) noexcept;
};

extern const FrameQuantizer kFrameQuantizerPortable;    // int16
extern const FrameQuantizer kFrameQuantizerAvx2;        // int16
extern const FrameQuantizer kFrameQuantizerAvxVnni;     // uint8, the code plus 128
extern const FrameQuantizer kFrameQuantizerAvx512Vnni;  // uint8, the code plus 128
extern const FrameQuantizer kFrameQuantizerNeonDot;     // int8

}  // namespace confpress

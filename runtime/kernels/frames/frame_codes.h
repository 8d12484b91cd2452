// Quantisation of activations: one frame (row of X) to integer codes and a scale.
//
//   s = max(max |x|, kEpsilon) / 127        code = round(x / s), ties to even, in -127..127
//
// A frame that holds an infinity or NaN gets the scale NaN, which makes all its outputs NaN; its
// codes mean nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu_path.h"

namespace confpress {

constexpr float kEpsilon = 0x1p-40f;
constexpr float kQmax = 127.0f;
// A frame's codes need room for whole runs of this many; what is written beyond the frame's length
// stands for zero, at least up to the next multiple of 4.
constexpr size_t kCodeRun = 64;

// The scale of a frame whose largest magnitude, as bits, is this. As integers, the magnitudes of
// floats are ordered like floats, with infinity and NaN on top: one maximum serves the scale and
// the test for them.
static inline float scale_of_magnitude(uint32_t bits) {
  constexpr uint32_t kInfinityBits = 0x7f800000;
  float largest = 0.0f;
  __builtin_memcpy(&largest, &bits, sizeof largest);
  const float scale = (largest > kEpsilon ? largest : kEpsilon) / kQmax;
  return bits < kInfinityBits ? scale : __builtin_nanf("");
}

// One instruction set's quantiser; how it stores a code is what its products want to read. Scale
// and codes apart: a scale waits for a maximum and a quotient, meanwhile other frames' are found.
struct FrameQuantizer {
  size_t code_bytes;   // of room; never less than a stored code takes
  int32_t zero_point;  // a stored code is the code plus this

  // frame: [length].
  float (*scale)(const float* frame, size_t length) noexcept;
  // codes: `code_bytes` each.
  void (*codes)(const float* frame, size_t length, float scale, void* codes) noexcept;
};

extern const FrameQuantizer kFrameQuantizerPortable;      // int16
extern const FrameQuantizer kFrameQuantizerAvx2;          // int16
extern const FrameQuantizer kFrameQuantizerAvx2Signed;    // int8
extern const FrameQuantizer kFrameQuantizerAvx2Unsigned;  // uint8, the code plus 128
extern const FrameQuantizer kFrameQuantizerAvx512Vnni;    // uint8, the code plus 128
extern const FrameQuantizer kFrameQuantizerAmx;           // the same, bytes 0 behind the last four
extern const FrameQuantizer kFrameQuantizerNeonDot;       // int8

}  // namespace confpress

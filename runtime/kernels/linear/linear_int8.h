// The product of quantised frames and packed int8 weights, with its epilogue:
//
//   y = activation((float(codes · w) · frame_scale) · row_scale + bias)
//
// Weights as passes/operators/quantlinear.py packs them: strips of 16 rows, in a strip groups of 4
// columns, 64 bytes each. int32 accumulation, exact for K up to kMostColumns.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/ranges.h"
#include "frames/frame_codes.h"
#include "lanes/activation.h"

namespace confpress {

constexpr size_t kStripRows = 16;
constexpr size_t kGroupColumns = 4;
constexpr size_t kGroupBytes = kStripRows * kGroupColumns;
// 127 · 128 · K stays below 2^31.
constexpr int64_t kMostColumns = 131072;
// A task multiplies this many tiles of frames with one tile of strips, where a tile is small.
constexpr size_t kTilesOfTask = 4;

struct LinearInt8Problem {
  const void* codes;          // frames quantised by the same instruction set's FrameQuantizer
  size_t codes_stride;        // bytes from one frame to the next
  const float* frame_scales;  // [frames]
  const int8_t* weights;      // [strips, groups, 16, 4]
  size_t groups;
  const int32_t* offsets;   // [strips * 16], the accumulators' start: -zero_point · Σ w
  const float* row_scales;  // [strips * 16]
  const float* bias;        // [strips * 16]
  float* y;                 // [frames, rows]
  size_t rows;              // N; the last strip may reach beyond it
  Activation activation;
};

// One instruction set's kernel: computes y for some frames and strips of 16 rows.
struct LinearInt8Kernel {
  const FrameQuantizer* quantizer;
  size_t task_frames;  // a task: a microsecond or more
  size_t task_strips;
  void (*multiply)(const LinearInt8Problem&, Range frames, Range strips) noexcept;
};

extern const LinearInt8Kernel kLinearInt8Portable;
extern const LinearInt8Kernel kLinearInt8Avx2;
extern const LinearInt8Kernel kLinearInt7Avx2;  // of weights that fit_int7
extern const LinearInt8Kernel kLinearInt8AvxVnni;
extern const LinearInt8Kernel kLinearInt8Avx512Vnni;
extern const LinearInt8Kernel kLinearInt8Amx;
extern const LinearInt8Kernel kLinearInt8NeonDot;

}  // namespace confpress

// The product of quantised frames and packed weights of 2 or 4 bits with a scale per block of
// columns, and its epilogue:
//
//   y = activation((Σ_blocks float(codes · values) · block_scale) · frame_scale + bias)
//
// A weight's code is looked up in a table of small integers, so int4, FP4 and int2 are one kernel.
// passes/operators/quantlinear_lowbit.py defines the operators and draws the layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/ranges.h"
#include "frames/frame_codes.h"
#include "lanes/activation.h"
#include "linear/linear_int8.h"

namespace confpress {

// A table's largest value minus its smallest: four products of unsigned table entries with codes of
// at most 127, added in pairs, stay below 2^15.
constexpr int64_t kMostSpan = 32;
// Columns whose weights are decoded at once, into a buffer that stays in the first cache; a
// multiple of every block.
constexpr size_t kChunkColumns = 512;
constexpr size_t kChunkGroups = kChunkColumns / kGroupColumns;
// Sums of codes are first taken over this many columns; blocks are multiples of it.
constexpr size_t kSumColumns = 16;

struct LinearLowbitProblem {
  const int8_t* codes;        // frames, zeros up to the next multiple of kSumColumns
  size_t codes_stride;        // bytes from one frame to the next
  const int32_t* starts;      // [frames, blocks]: what a block's accumulators start with
  const float* frame_scales;  // [frames]
  const uint8_t* weights;     // [strips, packed groups, 16, 4]
  int bits;                   // of a weight: 2 or 4
  const uint8_t* table;       // [16], as the kernel wants it
  size_t groups;              // of 4 columns, a multiple of 8 / bits
  size_t block_groups;
  size_t blocks;
  const float* scales;  // [strips, blocks, 16]
  const float* bias;    // [strips * 16]
  float* y;             // [frames, rows]
  size_t rows;          // N; the last strip may reach beyond it
  Activation activation;
};

// One instruction set's kernel.
struct LinearLowbitKernel {
  const FrameQuantizer* quantizer;
  // Whether its tables hold a value minus the smallest one (else the signed value itself).
  bool unsigned_weights;
  size_t tile_frames;
  size_t tile_strips;

  // Turns the quantiser's codes of one frame into int8 where they lie, with zeros from `length` to
  // the next multiple of kSumColumns, and adds them up: one sum for every kSumColumns.
  void (*narrow)(void* codes, size_t length, int32_t* sums) noexcept;
  // Computes y for some frames and strips of 16 rows, the latter at most tile_strips.
  void (*multiply)(const LinearLowbitProblem&, Range frames, Range strips) noexcept;
};

extern const LinearLowbitKernel kLinearLowbitPortable;
extern const LinearLowbitKernel kLinearLowbitAvx2;
extern const LinearLowbitKernel kLinearLowbitAvx512Vnni;
extern const LinearLowbitKernel kLinearLowbitNeonDot;

}  // namespace confpress

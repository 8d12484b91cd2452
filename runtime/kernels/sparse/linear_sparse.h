// The product of quantised frames and packed sparse int8 weights, with its epilogue:
//
//   y = activation((float(codes · w) · frame_scale) · row_scale + bias)
//
// Weights as passes/operators/sparselinear.py packs them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/ranges.h"
#include "frames/frame_codes.h"
#include "lanes/activation.h"
#include "linear/linear_int8.h"
#include "sparse/sparse_weights.h"

namespace confpress {

struct LinearSparseProblem : SparseWeights {
  const std::byte* codes;  // frames quantised by the same kernel's quantiser
  size_t codes_stride;     // bytes from one frame to the next
  const float* frame_scales;
  const int32_t* offsets;   // [strips * 16], the accumulators' start: -zero_point · Σ w
  const float* row_scales;  // [strips * 16]
  const float* bias;        // [strips * 16]
  float* y;                 // [frames, rows]
  size_t rows;              // N; the last strip may reach beyond it
  Activation activation;
};

// One instruction set's kernel: computes y for some frames and strips of 16 rows.
struct LinearSparseKernel {
  const FrameQuantizer* quantizer;
  size_t tile_frames;  // what its inner loop takes at once; tasks are multiples of these
  size_t tile_strips;
  void (*multiply)(const LinearSparseProblem&, Range frames, Range strips) noexcept;
};

extern const LinearSparseKernel kLinearSparsePortable;
extern const LinearSparseKernel kLinearSparseAvx2;
extern const LinearSparseKernel kLinearSparseInt7Avx2;  // of weights that fit_int7
extern const LinearSparseKernel kLinearSparseAvxVnni;
extern const LinearSparseKernel kLinearSparseAvx512Vnni;
extern const LinearSparseKernel kLinearSparseAvx512Vbmi;
extern const LinearSparseKernel kLinearSparseNeonDot;

}  // namespace confpress

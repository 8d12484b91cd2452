// The product of quantised frames and packed sparse int8 weights, with its epilogue:
//
//   y = activation((float(codes · w) · frame_scale) · row_scale + bias)
//
// Weights as passes/operators/sparselinear.py packs them: strips of 16 rows, in a strip blocks of
// 64 columns, in a block slots of 4 non-zeros a row, 64 bytes each, with as many bytes that name
// their columns.
#pragma once

#include <cstddef>
#include <cstdint>

#include "activation.h"
#include "frame_codes.h"
#include "linear_int8.h"
#include "ranges.h"

namespace confpress {

constexpr size_t kBlockColumns = 64;
constexpr size_t kWindowColumns = 16;  // what one table look-up in bytes reaches
constexpr size_t kWindowsOfBlock = kBlockColumns / kWindowColumns;
constexpr size_t kSlotValues = 4;
constexpr size_t kSlotBytes = kStripRows * kSlotValues;

// Where the columns of slot j of n lie.
enum class SlotReach {
  kWindow,  // in window 4 j / n
  kPair,    // n = 2: the first two in window 2 j, the others in window 2 j + 1
  kBlock,   // anywhere in the block
};

constexpr size_t reached_columns(SlotReach reach) {
  return reach == SlotReach::kBlock  ? kBlockColumns
         : reach == SlotReach::kPair ? 2 * kWindowColumns
                                     : kWindowColumns;
}

struct LinearSparseProblem {
  const std::byte* codes;  // frames quantised by the same kernel's quantiser, and prepared
  size_t codes_stride;     // bytes from one frame to the next
  const float* frame_scales;
  const int8_t* weights;   // [strips, blocks, slots, 16, 4]
  const uint8_t* columns;  // the same shape, 0..63
  size_t blocks;
  unsigned log_slots;  // a block has 2^log_slots
  SlotReach reach;
  const int32_t* offsets;   // [strips * 16], the accumulators' start: -zero_point · Σ w
  const float* row_scales;  // [strips * 16]
  const float* bias;        // [strips * 16]
  float* y;                 // [frames, rows]
  size_t rows;              // N; the last strip may reach beyond it
  Activation activation;

  size_t slots() const { return blocks << log_slots; }
  size_t strip_bytes() const { return slots() * kSlotBytes; }
  // The first column that a slot of the strip may read: in steps of what it reaches.
  template <SlotReach kReach>
  size_t first_column(size_t slot) const {
    return slot * (kBlockColumns >> log_slots) / reached_columns(kReach) * reached_columns(kReach);
  }
};

// One instruction set's kernel: computes y for some frames and strips of 16 rows.
struct LinearSparseKernel {
  const FrameQuantizer* quantizer;
  void (*prepare)(void* codes, size_t length) noexcept;  // may be null
  size_t tile_frames;  // what its inner loop takes at once; tasks are multiples of these
  size_t tile_strips;
  void (*multiply)(const LinearSparseProblem&, Range frames, Range strips) noexcept;
};

extern const LinearSparseKernel kLinearSparsePortable;
extern const LinearSparseKernel kLinearSparseAvx2;
extern const LinearSparseKernel kLinearSparseAvxVnni;
extern const LinearSparseKernel kLinearSparseAvx512Vnni;
extern const LinearSparseKernel kLinearSparseAvx512Vbmi;
extern const LinearSparseKernel kLinearSparseNeonDot;

}  // namespace confpress

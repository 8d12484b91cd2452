// Sparse weights in float32 or bfloat16 times frames in float32:
//
//   y = activation(Σ w · x + bias)
//
// Registers hold frames, so a non-zero takes one multiplication by a broadcast weight wherever its
// column is: patterns and shuffles do not matter. X is transposed for this, tile by tile of frames;
// a tile's columns of one block and its sums of some rows stay in the first cache. Weights in
// bfloat16 are widened block by block, so that everything else is the same code.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/ranges.h"
#include "lanes/activation.h"

namespace confpress {

constexpr size_t kFloatBlock = 64;     // columns
constexpr size_t kFloatTaskRows = 64;  // rows of W, at most, that a task takes
constexpr size_t kMostTileFrames = 64;

struct SparseFloatProblem {
  const float* x;          // [frames, columns]
  float* tiles;            // of transposed frames: [tiles, blocks * 64, tile_frames]
  const float* weights;    // [blocks, rows, kept]; null where they are
  const uint16_t* halves;  // bfloat16
  const uint8_t* columns;  // the same shape, 0..63
  const float* bias;       // [rows]
  float* y;                // [frames, rows]
  size_t frames;
  size_t column_count;  // K
  size_t rows;          // N
  size_t blocks;
  size_t kept;
  Activation activation;
};

// A tile of some number of frames.
struct SparseFloatKernel {
  size_t tile_frames;
  void (*transpose)(const SparseFloatProblem&, size_t tile) noexcept;
  void (*multiply)(const SparseFloatProblem&, size_t tile, Range rows) noexcept;
};

// One instruction set's, of tiles of 1, 2 and 4 registers: the more frames, the more each weight
// that is read is used.
struct SparseFloatKernels {
  SparseFloatKernel of[3];

  const SparseFloatKernel& for_frames(size_t frames) const {
    return frames <= of[0].tile_frames ? of[0] : frames <= of[1].tile_frames ? of[1] : of[2];
  }
};

extern const SparseFloatKernels kSparseFloatPortable;
extern const SparseFloatKernels kSparseFloatAvx2;
extern const SparseFloatKernels kSparseFloatAvx512Vnni;

}  // namespace confpress

// Weights of which every group of four columns keeps two, as sparse tensor cores read them.
//
// The instruction is mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32: a warp
// adds A · B to C, with A [16 rows, 32 columns] of weights, two of every four columns stored, B [32
// columns, 8 frames] and C [16 rows, 8 frames]. Which lane holds what in which register is written
// down here, once: as in the PTX ISA, "Matrix fragments for sparse mma.m16n8k32 with .f16 and .bf16
// types". Weights are packed by these functions, and tests run the instruction by them.
#pragma once

#include <utility>
#include <vector>

#include "cuda/half.h"
#include "cuda/product_block.h"

namespace confpress::cuda {

constexpr int kLanes = 32;
constexpr int kMmaRows = 16;
constexpr int kMmaFrames = 8;
constexpr int kMmaColumns = 32;
constexpr int kMmaSteps = kColumns / kMmaColumns;  // instructions for a block of 64 columns
constexpr int kMmaRegisters = 4;                   // of a lane, for each of A, B and C
constexpr int kGroup = 4;                          // columns of which two are stored
constexpr int kMmaGroups = kMmaColumns / kGroup;

struct RowGroup {
  int row;
  int group;
};

// A: the two weights that are stored of a row and a group, the first in the low half.
CONFPRESS_HOST_DEVICE RowGroup weights_place(int lane, int reg) {
  return {lane / 4 + 8 * (reg % 2), lane % 4 + 4 * (reg / 2)};
}

struct FrameColumn {
  int frame;
  int column;
};

// B: a frame's column in the low half, and the next column.
CONFPRESS_HOST_DEVICE FrameColumn frames_place(int lane, int reg) {
  return {lane / 4, 8 * reg + 2 * (lane % 4)};
}

struct RowFrame {
  int row;
  int frame;
};

// C: a sum.
CONFPRESS_HOST_DEVICE RowFrame sum_place(int lane, int reg) {
  return {lane / 4 + 8 * (reg / 2), 2 * (lane % 4) + reg % 2};
}

// Metadata: a word has eight times four bits, each of which say for a row and a group which columns
// are stored: two bits for the first, then two for the second, which lies behind it.
constexpr int kNibbles = 8;
CONFPRESS_HOST_DEVICE RowGroup indices_place(int lane, int nibble) {
  return {lane / 4 + 8 * (nibble / 4), lane % 2 * 4 + nibble % 4};
}

// The instruction reads the metadata of half the lanes, those with its selector, so that a word of
// every lane serves two instructions: here, the steps of a block.
CONFPRESS_HOST_DEVICE int selector(int lane) { return lane % 4 / 2; }

// Metadata of weights that are all zero.
constexpr uint32_t kFirstTwo = 0x44444444u;

// 16 rows of a block of 64 columns.
struct MmaWeights {
  Chunk values[kMmaSteps][kLanes];  // a chunk is a lane's four registers
  uint32_t metadata[kLanes];
};

// The columns of a group that are stored, in their order: those of its weights, and of zeros where
// weights are fewer. False where they are more.
inline bool stored_columns(const Half (&group)[kGroup], int (&stored)[2]) {
  const auto is_weight = [&](int i) { return to_float(group[i]) != 0.0f; };
  int count = 0;
  for (int i = 0; i < kGroup; ++i) {
    if (!is_weight(i)) continue;
    if (count == 2) return false;
    stored[count++] = i;
  }
  for (int i = kGroup - 1; count < 2; --i) {
    if (!is_weight(i)) stored[count++] = i;
  }
  if (stored[0] > stored[1]) std::swap(stored[0], stored[1]);
  return true;
}

// A block's 16 rows with their zeros, in groups of four columns.
struct DenseRows {
  static constexpr int kGroups = kColumns / kGroup;
  Half values[kMmaRows][kGroups][kGroup] = {};
};

// Packs 16 rows of a block. False where a group has more than two weights.
inline bool pack(const DenseRows& dense, MmaWeights& packed) {
  int stored[kMmaRows][DenseRows::kGroups][2];
  for (int row = 0; row < kMmaRows; ++row) {
    for (int group = 0; group < DenseRows::kGroups; ++group) {
      if (!stored_columns(dense.values[row][group], stored[row][group])) return false;
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int step = 0; step < kMmaSteps; ++step) {
      for (int reg = 0; reg < kMmaRegisters; ++reg) {
        const RowGroup place = weights_place(lane, reg);
        const int group = step * kMmaGroups + place.group;
        const auto& values = dense.values[place.row][group];
        const auto& columns = stored[place.row][group];
        packed.values[step][lane].words[reg] =
            values[columns[0]].bits | static_cast<uint32_t>(values[columns[1]].bits) << 16;
      }
    }
    uint32_t metadata = 0;
    for (int nibble = 0; nibble < kNibbles; ++nibble) {
      const RowGroup place = indices_place(lane, nibble);
      const auto& columns = stored[place.row][selector(lane) * kMmaGroups + place.group];
      metadata |= static_cast<uint32_t>(columns[0] | columns[1] << 2) << 4 * nibble;
    }
    packed.metadata[lane] = metadata;
  }
  return true;
}

// Packs weights and columns [blocks, rows, kept], as passes/operators/sparselinear_float.py draws
// them, into [ceil(rows / 16), blocks]; rows beyond the last are zeros. Nothing where a group of
// four columns has more than two weights.
inline std::vector<MmaWeights> pack_two_of_four(const Half* weights, const uint8_t* columns,
                                                size_t rows, size_t blocks, size_t kept) {
  const size_t tiles = ceil_div(rows, kMmaRows);
  std::vector<MmaWeights> packed(tiles * blocks);
  for (size_t tile = 0; tile < tiles; ++tile) {
    for (size_t block = 0; block < blocks; ++block) {
      DenseRows dense;
      for (size_t row = tile * kMmaRows; row < rows && row < (tile + 1) * kMmaRows; ++row) {
        const size_t first = (block * rows + row) * kept;
        for (size_t i = first; i < first + kept; ++i) {
          if (to_float(weights[i]) == 0.0f) continue;
          dense.values[row % kMmaRows][columns[i] / kGroup][columns[i] % kGroup] = weights[i];
        }
      }
      if (!pack(dense, packed[tile * blocks + block])) return {};
    }
  }
  return packed;
}

}  // namespace confpress::cuda

// The product with balanced-sparse weights, as one block of a GPU's threads computes it.
//
// After Yao et al., "Balanced Sparsity for Efficient DNN Inference on GPU" (AAAI 2019): groups of
// threads take whole blocks of 64 columns, and as every row keeps the same number of weights in
// each, all of them have the same work. A thread holds a few rows and 16 bytes' worth of frames in
// registers; for each weight it reads its frames of the weight's column in one access to shared
// memory. Groups meet once, at the end, where their sums are added in a fixed order.
//
// Everything is plain C++ and runs on a processor too, phase by phase and thread by thread, which
// is how tests hold it against the operators' definitions without a GPU.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/host_device.h"
#include "base/ranges.h"
#include "lanes/activation_portable.h"

#if defined(__CUDACC__)
#define CONFPRESS_UNROLL _Pragma("unroll")
#else
#define CONFPRESS_UNROLL
#endif

namespace confpress::cuda {

constexpr int kThreads = 256;
constexpr int kColumns = 64;  // of a block
constexpr int kMostFrameLanes = 8;
constexpr int kLeastRowLanes = 8;

// What one thread reads of shared memory at once: a column of some frames.
struct alignas(16) Chunk {
  uint32_t words[4];
};

// How a block's threads share its tile; all powers of two, and their product is kThreads.
struct Plan {
  int frame_lanes;  // threads along the frames
  int row_lanes;    // threads along the rows
  int groups;       // along the blocks of columns
};

// The plan for so many frames, and rows cut into tiles until there are `wanted` of them.
template <class Kind>
Plan plan_of(int64_t frames, int64_t rows, int64_t wanted) {
  Plan plan{1, kThreads, 1};
  while (plan.frame_lanes < kMostFrameLanes && plan.frame_lanes * Kind::kVector < frames) {
    plan.frame_lanes *= 2;
    plan.row_lanes /= 2;
  }
  const size_t tiles_of_frames = ceil_div(frames, plan.frame_lanes * Kind::kVector);
  while (plan.row_lanes > kLeastRowLanes &&
         tiles_of_frames * ceil_div(rows, plan.row_lanes * Kind::kRows) <
             static_cast<size_t>(wanted)) {
    plan.row_lanes /= 2;
    plan.groups *= 2;
  }
  return plan;
}

struct Shape {
  int64_t frames;
  int rows;
  int columns;
  int blocks;
};

// Kind says what is multiplied:
//   Element, Sum        of a chunk; of the accumulators
//   kVector, kRows      frames and rows of one thread
//   Problem             `shape` and the tensors
//   Frames              what a block keeps of its frames in shared memory besides chunks
//   prepare(...)        fills it; before the first column is loaded
//   element(...)        the chunk's element of a frame and a column
//   multiply(...)       adds a block's products
//   store(...)          a sum's end and its place in Y
template <class Kind>
struct SharedMemory {
  static constexpr int kFrames = kMostFrameLanes * Kind::kVector;
  static constexpr int kChunks = kThreads / kLeastRowLanes * kColumns;
  // A row of sums has one element more than a tile has rows, so that threads of neighbouring frames
  // write to other banks.
  static constexpr int kSums = Kind::kVector * (kThreads * Kind::kRows + kThreads / kLeastRowLanes);
  union {
    Chunk chunks[kChunks];
    typename Kind::Sum sums[kSums];
    typename Kind::Scratch scratch;
  };
  typename Kind::Frames frames;
};

template <class Kind>
class ProductBlock {
 public:
  static constexpr int kVector = Kind::kVector;
  static constexpr int kRows = Kind::kRows;
  using Sum = typename Kind::Sum;
  // A thread's own.
  struct Registers {
    Sum sums[kRows][kVector];
  };

  CONFPRESS_HOST_DEVICE ProductBlock(const typename Kind::Problem& problem, const Plan& plan,
                                     SharedMemory<Kind>& shared, int64_t index)
      : p_(problem), plan_(plan), shared_(shared) {
    const int64_t tiles = ceil_div(p_.shape.rows, tile_rows(plan));
    first_row_ = static_cast<int>(index % tiles) * tile_rows(plan);
    first_frame_ = index / tiles * tile_frames(plan);
  }

  static CONFPRESS_HOST_DEVICE int tile_rows(const Plan& plan) { return plan.row_lanes * kRows; }
  static CONFPRESS_HOST_DEVICE int tile_frames(const Plan& plan) {
    return plan.frame_lanes * kVector;
  }
  static int64_t count(const Shape& shape, const Plan& plan) {
    return static_cast<int64_t>(ceil_div(shape.frames, tile_frames(plan)) *
                                ceil_div(shape.rows, tile_rows(plan)));
  }

  // `threads.each(phase)` calls phase(thread, registers) for every thread of the block, with a
  // barrier behind.
  template <class Threads>
  CONFPRESS_HOST_DEVICE void run(Threads& threads) {
    threads.each([&](int, Registers& registers) {
      CONFPRESS_UNROLL
      for (int r = 0; r < kRows; ++r) {
        CONFPRESS_UNROLL
        for (int v = 0; v < kVector; ++v) registers.sums[r][v] = 0;
      }
    });
    Kind::prepare(p_, threads, shared_, first_frame_, tile_frames(plan_));
    for (int block = 0; block < p_.shape.blocks; block += plan_.groups) {
      threads.each([&](int thread, Registers&) { load(thread, block); });
      threads.each(
          [&](int thread, Registers& registers) { multiply(thread, block, registers.sums); });
    }
    threads.each([&](int thread, Registers& registers) { put(thread, registers.sums); });
    threads.each([&](int thread, Registers&) { finish(thread); });
  }

 private:
  // Lanes of frames are neighbours, so that a row's weight is read once for all of them.
  CONFPRESS_HOST_DEVICE int frame_lane(int thread) const { return thread % plan_.frame_lanes; }
  CONFPRESS_HOST_DEVICE int row_lane(int thread) const {
    return thread / plan_.frame_lanes % plan_.row_lanes;
  }
  CONFPRESS_HOST_DEVICE int group(int thread) const {
    return thread / (plan_.frame_lanes * plan_.row_lanes);
  }

  // Where the frames of a lane lie. The order of a column's chunks changes from column to column:
  // neighbouring columns are written to, and lanes read from, all banks.
  CONFPRESS_HOST_DEVICE int place(int column, int lane) const {
    return column * plan_.frame_lanes + (lane ^ (column & (plan_.frame_lanes - 1)));
  }

  // The blocks of all groups, from X to shared memory.
  CONFPRESS_HOST_DEVICE void load(int thread, int first_block) {
    const int columns = plan_.groups * kColumns;
    for (int i = thread; i < columns * plan_.frame_lanes; i += kThreads) {
      const int column = i % columns;
      const int lane = i / columns;
      const int of_x = first_block * kColumns + column;
      union {
        typename Kind::Element elements[kVector];
        Chunk chunk;
      };
      CONFPRESS_UNROLL
      for (int v = 0; v < kVector; ++v) {
        const int frame = lane * kVector + v;
        const bool exists = of_x < p_.shape.columns && first_frame_ + frame < p_.shape.frames;
        elements[v] = exists ? Kind::element(p_, shared_.frames, first_frame_, frame, of_x)
                             : typename Kind::Element{};
      }
      shared_.chunks[place(column, lane)] = chunk;
    }
  }

  CONFPRESS_HOST_DEVICE void multiply(int thread, int first_block, Sum (&sums)[kRows][kVector]) {
    const int block = first_block + group(thread);
    if (block >= p_.shape.blocks) return;
    int rows[kRows];
    CONFPRESS_UNROLL
    for (int r = 0; r < kRows; ++r) {
      // Rows beyond the last repeat it; nobody stores them.
      const int row = first_row_ + row_lane(thread) + r * plan_.row_lanes;
      rows[r] = row < p_.shape.rows ? row : p_.shape.rows - 1;
    }
    const int first_column = group(thread) * kColumns;
    const int lane = frame_lane(thread);
    const auto read = [&](int column) -> const Chunk& {
      return shared_.chunks[place(first_column + column, lane)];
    };
    Kind::multiply(p_, block, rows, read, sums);
  }

  // The place of a sum. Chunks are not needed any more.
  CONFPRESS_HOST_DEVICE Sum& sum(int of_group, int frame, int row) {
    const int frames = tile_frames(plan_);
    return shared_.sums[(of_group * frames + frame) * (tile_rows(plan_) + 1) + row];
  }

  CONFPRESS_HOST_DEVICE void put(int thread, const Sum (&sums)[kRows][kVector]) {
    CONFPRESS_UNROLL
    for (int r = 0; r < kRows; ++r) {
      CONFPRESS_UNROLL
      for (int v = 0; v < kVector; ++v) {
        sum(group(thread), frame_lane(thread) * kVector + v,
            row_lane(thread) + r * plan_.row_lanes) = sums[r][v];
      }
    }
  }

  // Neighbouring threads store neighbouring rows of Y.
  CONFPRESS_HOST_DEVICE void finish(int thread) {
    const int rows = tile_rows(plan_);
    for (int i = thread; i < rows * tile_frames(plan_); i += kThreads) {
      const int row = i % rows;
      const int frame = i / rows;
      if (first_row_ + row >= p_.shape.rows || first_frame_ + frame >= p_.shape.frames) continue;
      Sum total = 0;
      for (int g = 0; g < plan_.groups; ++g) total += sum(g, frame, row);
      Kind::store(p_, shared_.frames, first_frame_, frame, first_row_ + row, total);
    }
  }

  const typename Kind::Problem& p_;
  const Plan& plan_;
  SharedMemory<Kind>& shared_;
  int first_row_;
  int64_t first_frame_;
};

}  // namespace confpress::cuda

// The product with weights of which every group of four columns keeps two, on sparse tensor cores,
// as one block of a GPU's threads computes it; sparse_mma_layout.h says how weights lie.
//
// Frames go through shared memory, in two buffers: while one is multiplied, the next stage of
// columns is copied to the other. Weights are read by the lanes that multiply them, a stage ahead,
// and by nobody else. Warps share out a tile's rows and the columns of a stage; those that have the
// same rows add their sums at the end, in a fixed order.
//
// What a warp does as one, reading matrices and multiplying, it asks of `Threads`, so that all of
// this runs on a processor too.
#pragma once

#include "cuda/sparse_mma_layout.h"

namespace confpress::cuda {

constexpr int kMmaThreads = 128;

// A warp's sums are kRowTiles × kFrameTiles of the instruction's; kRowWarps warps lie along the
// rows, and the others along the columns.
template <int kRowTiles_, int kFrameTiles_, int kRowWarps_>
struct MmaTile {
  static constexpr int kRowTiles = kRowTiles_;
  static constexpr int kFrameTiles = kFrameTiles_;
  static constexpr int kRowWarps = kRowWarps_;
  static constexpr int kColumnWarps = kMmaThreads / kLanes / kRowWarps;
  static constexpr int kRows = kMmaRows * kRowTiles * kRowWarps;
  static constexpr int kFrames = kMmaFrames * kFrameTiles;
};
using WideTile = MmaTile<2, 8, 2>;    // 64 rows × 64 frames
using NarrowTile = MmaTile<1, 4, 1>;  // 16 rows × 32 frames

// What a lane gives to the instruction, and the sums that it adds to.
struct MmaOperands {
  const uint32_t (&weights)[kMmaRegisters];
  const uint32_t (&frames)[kMmaRegisters];
  uint32_t metadata;
  float (&sums)[kMmaRegisters];
};

struct SparseMmaProblem {
  Shape shape;
  const Half* x;              // [frames, columns]
  const MmaWeights* weights;  // [ceil(rows / 16), blocks]
  const float* bias;          // [rows]
  Half* y;                    // [frames, rows]
  Activation activation;

  // Whether all chunks of X lie at multiples of 16 bytes, and end where a frame does.
  CONFPRESS_HOST_DEVICE bool has_chunks() const {
    return shape.columns % 8 == 0 && reinterpret_cast<uintptr_t>(x) % sizeof(Chunk) == 0;
  }
};

template <class Tile>
class SparseMmaBlock {
 public:
  static constexpr int kChunk = sizeof(Chunk) / sizeof(Half);
  static constexpr int kStageBlocks = Tile::kColumnWarps;
  static constexpr int kStageChunks = kStageBlocks * kColumns / kChunk;
  // Four floats more than a tile has rows: the lanes of a warp write its sums to all banks.
  static constexpr int kSumPitch = Tile::kRows + 4;

  union Shared {
    Chunk frames[2][Tile::kFrames][kStageChunks];
    float sums[Tile::kColumnWarps][Tile::kFrames][kSumPitch];
  };

  // A lane's part of MmaWeights.
  struct LaneWeights {
    Chunk values[kMmaSteps];
    uint32_t metadata;
  };
  struct Registers {
    LaneWeights weights[Tile::kRowTiles];
    LaneWeights next[Tile::kRowTiles];
    Chunk frames;
    float sums[Tile::kRowTiles][Tile::kFrameTiles][kMmaRegisters];
  };

  CONFPRESS_HOST_DEVICE SparseMmaBlock(const SparseMmaProblem& problem, Shared& shared,
                                       int64_t index)
      : p_(problem), shared_(shared) {
    const int64_t tiles = ceil_div(p_.shape.rows, Tile::kRows);
    first_row_ = static_cast<int>(index % tiles) * Tile::kRows;
    first_frame_ = index / tiles * Tile::kFrames;
  }

  static int64_t count(const Shape& shape) {
    return static_cast<int64_t>(ceil_div(shape.frames, Tile::kFrames) *
                                ceil_div(shape.rows, Tile::kRows));
  }

  // `threads` has
  //   each(phase)                calls phase(thread, registers) for every thread
  //   copy(to, from, exists)     starts to copy a chunk, or to clear it
  //   wait()                     until all threads are here, and what they copied and stored, too
  //   read_matrices(row, to)     ldmatrix.x4: row(thread) is a row of 8 of one of four matrices
  //   multiply<selector>(of)     the instruction; of(registers) are a lane's operands
  template <class Threads>
  CONFPRESS_HOST_DEVICE void run(Threads& threads) {
    const int stages = static_cast<int>(ceil_div(p_.shape.blocks, kStageBlocks));
    threads.each([&](int thread, Registers& registers) {
      clear(registers);
      load(threads, thread, registers, 0);
    });
    for (int stage = 0; stage < stages; ++stage) {
      threads.wait();
      threads.each([&](int thread, Registers& registers) {
        CONFPRESS_UNROLL
        for (int m = 0; m < Tile::kRowTiles; ++m) registers.weights[m] = registers.next[m];
        if (stage + 1 < stages) load(threads, thread, registers, stage + 1);
      });
      multiply<0>(threads, stage);
      multiply<1>(threads, stage);
    }
    threads.wait();
    threads.each([&](int thread, Registers& registers) { put(thread, registers); });
    threads.wait();
    threads.each([&](int thread, Registers&) { finish(thread); });
  }

 private:
  static CONFPRESS_HOST_DEVICE int row_warp(int thread) {
    return thread / kLanes % Tile::kRowWarps;
  }
  static CONFPRESS_HOST_DEVICE int column_warp(int thread) {
    return thread / kLanes / Tile::kRowWarps;
  }

  // Where a frame's chunk lies: the same chunk of eight frames is in all banks, as are eight
  // neighbouring chunks of a frame.
  CONFPRESS_HOST_DEVICE Chunk& place(int stage, int frame, int chunk) {
    return shared_.frames[stage % 2][frame][chunk ^ (frame % 8)];
  }

  static CONFPRESS_HOST_DEVICE void clear(Registers& registers) {
    CONFPRESS_UNROLL
    for (auto& of_rows : registers.sums) {
      CONFPRESS_UNROLL
      for (auto& sums : of_rows) {
        CONFPRESS_UNROLL
        for (float& sum : sums) sum = 0.0f;
      }
    }
  }

  // A stage's frames and weights; zeros where there are none.
  template <class Threads>
  CONFPRESS_HOST_DEVICE void load(Threads& threads, int thread, Registers& registers, int stage) {
    constexpr int kEach = Tile::kFrames * kStageChunks / kMmaThreads;
    if (p_.has_chunks()) {
      CONFPRESS_UNROLL
      for (int i = 0; i < kEach; ++i) {
        const StageChunk at = chunk_at(stage, thread + i * kMmaThreads);
        threads.copy(at.place, at.left > 0 ? at.from : p_.x, at.left > 0);
      }
    } else {
      for (int i = 0; i < kEach; ++i) {
        const StageChunk at = chunk_at(stage, thread + i * kMmaThreads);
        at.place = elements(at);
      }
    }
    load_weights(thread, registers, stage);
  }

  struct StageChunk {
    Chunk& place;
    const Half* from;
    int left;  // elements of X from here to its frame's end; none where the frame does not exist
  };
  CONFPRESS_HOST_DEVICE StageChunk chunk_at(int stage, int index) {
    const int frame = index / kStageChunks;
    const int chunk = index % kStageChunks;
    const int column = stage * kStageBlocks * kColumns + chunk * kChunk;
    const bool exists = first_frame_ + frame < p_.shape.frames;
    return {place(stage, frame, chunk),
            p_.x + (exists ? first_frame_ + frame : 0) * p_.shape.columns + column,
            exists ? p_.shape.columns - column : 0};
  }

  static CONFPRESS_HOST_DEVICE Chunk elements(const StageChunk& at) {
    union {
      Half elements[kChunk];
      Chunk chunk;
    };
    CONFPRESS_UNROLL
    for (int i = 0; i < kChunk; ++i) elements[i] = i < at.left ? at.from[i] : Half{};
    return chunk;
  }

  CONFPRESS_HOST_DEVICE void load_weights(int thread, Registers& registers, int stage) {
    const int block = stage * kStageBlocks + column_warp(thread);
    const int tiles = static_cast<int>(ceil_div(p_.shape.rows, kMmaRows));
    const int lane = thread % kLanes;
    CONFPRESS_UNROLL
    for (int m = 0; m < Tile::kRowTiles; ++m) {
      // Tiles beyond the last repeat it; nobody stores them.
      const int tile = first_row_ / kMmaRows + row_warp(thread) * Tile::kRowTiles + m;
      const int64_t existing = tile < tiles ? tile : tiles - 1;
      LaneWeights& to = registers.next[m];
      if (block < p_.shape.blocks) {
        const MmaWeights& from = p_.weights[existing * p_.shape.blocks + block];
        to = {{from.values[0][lane], from.values[1][lane]}, from.metadata[lane]};
      } else {
        to = {{}, kFirstTwo};
      }
    }
  }

  template <int kStep, class Threads>
  CONFPRESS_HOST_DEVICE void multiply(Threads& threads, int stage) {
    CONFPRESS_UNROLL
    for (int f = 0; f < Tile::kFrameTiles; ++f) {
      // Matrices follow one another along the columns, eight at a time.
      threads.read_matrices(
          [&](int thread) -> const Chunk& {
            const int lane = thread % kLanes;
            const int first = (column_warp(thread) * kMmaSteps + kStep) * kMmaColumns / kChunk;
            return place(stage, f * kMmaFrames + lane % 8, first + lane / 8);
          },
          [](Registers& registers) -> Chunk& { return registers.frames; });
      CONFPRESS_UNROLL
      for (int m = 0; m < Tile::kRowTiles; ++m) {
        threads.template multiply<kStep>([&](Registers& registers) -> MmaOperands {
          const LaneWeights& weights = registers.weights[m];
          return {weights.values[kStep].words, registers.frames.words, weights.metadata,
                  registers.sums[m][f]};
        });
      }
    }
  }

  // Frames are not needed any more.
  CONFPRESS_HOST_DEVICE void put(int thread, const Registers& registers) {
    CONFPRESS_UNROLL
    for (int m = 0; m < Tile::kRowTiles; ++m) {
      CONFPRESS_UNROLL
      for (int f = 0; f < Tile::kFrameTiles; ++f) {
        CONFPRESS_UNROLL
        for (int reg = 0; reg < kMmaRegisters; ++reg) {
          const RowFrame at = sum_place(thread % kLanes, reg);
          const int row = (row_warp(thread) * Tile::kRowTiles + m) * kMmaRows + at.row;
          shared_.sums[column_warp(thread)][f * kMmaFrames + at.frame][row] =
              registers.sums[m][f][reg];
        }
      }
    }
  }

  // Neighbouring threads store neighbouring rows of Y.
  CONFPRESS_HOST_DEVICE void finish(int thread) {
    for (int i = thread; i < Tile::kRows * Tile::kFrames; i += kMmaThreads) {
      const int row = first_row_ + i % Tile::kRows;
      const int64_t frame = first_frame_ + i / Tile::kRows;
      if (row >= p_.shape.rows || frame >= p_.shape.frames) continue;
      float sum = p_.bias[row];
      CONFPRESS_UNROLL
      for (int warp = 0; warp < Tile::kColumnWarps; ++warp) {
        sum += shared_.sums[warp][i / Tile::kRows][i % Tile::kRows];
      }
      p_.y[frame * p_.shape.rows + row] = from_float<Half>(portable::activate(p_.activation, sum));
    }
  }

  const SparseMmaProblem& p_;
  Shared& shared_;
  int first_row_;
  int64_t first_frame_;
};

// Whether wide tiles are enough for a block of threads on every multiprocessor. Narrow ones read
// frames and weights more often, and few frames less in vain.
inline bool wide_tiles(const Shape& shape, int multiprocessors) {
  return SparseMmaBlock<WideTile>::count(shape) >= multiprocessors;
}

}  // namespace confpress::cuda

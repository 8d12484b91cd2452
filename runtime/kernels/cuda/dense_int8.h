// Dense int8 weights and frames that are quantised to int8 as they are loaded; sums are int32.
// passes/operators/quantlinear.py draws the layout.
//
// What the block of threads calls a column is a group of four here, the four codes of a word: a
// chunk is such a group of four frames, and one dp4a multiplies a frame's word with a row's.
//
// Weights are read where they lie. Threads along the frames are neighbours, so one warp alone reads
// a row's word, for all of its frames at once; through shared memory it would be written and read
// once more, for nobody else.
#pragma once

#include "cuda/frames_int8.h"
#include "sparse/sparse_weights.h"

namespace confpress::cuda {

struct DenseInt8 {
  using Element = uint32_t;  // four int8
  using Sum = int32_t;
  static constexpr int kGroup = sizeof(Element);
  static constexpr int kVector = sizeof(Chunk) / sizeof(Element);
  static constexpr int kRows = 8;
  struct Problem {
    Shape shape;              // with groups as columns
    int length;               // columns of X
    const float* x;           // [frames, length]
    const uint32_t* weights;  // [strips, groups, 16], four int8 each
    Int8Output output;
  };
  using Frames = Int8Frames<kMostFrameLanes * kVector>;
  using Scratch = typename Frames::Scratch;

  template <class Threads, class Shared>
  static CONFPRESS_HOST_DEVICE void prepare(const Problem& p, Threads& threads, Shared& shared,
                                            int64_t first_frame, int frames) {
    shared.frames.find(p.x + first_frame * p.length, p.length,
                       existing_frames(p.shape, first_frame, frames), threads, shared.scratch);
  }

  static CONFPRESS_HOST_DEVICE uint32_t element(const Problem& p, const Frames& frames,
                                                int64_t first_frame, int frame, int group) {
    const int first = group * kGroup;
    const float* x = p.x + (first_frame + frame) * p.length + first;
    uint32_t codes = 0;
    CONFPRESS_UNROLL
    for (int i = 0; i < kGroup; ++i) {
      if (first + i >= p.length) break;
      codes |= static_cast<uint32_t>(static_cast<uint8_t>(frames.code(x[i], frame))) << 8 * i;
    }
    return codes;
  }

  template <class Read>
  static CONFPRESS_HOST_DEVICE void multiply(const Problem& p, int block, const int (&rows)[kRows],
                                             const Read& read, Sum (&sums)[kRows][kVector]) {
    constexpr int kStrip = static_cast<int>(kStripRows);
    const int first_group = block * kColumns;
    const int left = p.shape.columns - first_group;
    const int groups = left < kColumns ? left : kColumns;
    const uint32_t* weights[kRows];
    CONFPRESS_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const size_t strip = rows[r] / kStrip;
      weights[r] = p.weights + (strip * p.shape.columns + first_group) * kStrip + rows[r] % kStrip;
    }
    for (int group = 0; group < groups; ++group) {
      const Chunk x = read(group);
      CONFPRESS_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const uint32_t codes = weights[r][group * kStrip];
        CONFPRESS_UNROLL
        for (int v = 0; v < kVector; ++v) sums[r][v] = dot(x.words[v], codes, sums[r][v]);
      }
    }
  }

  static CONFPRESS_HOST_DEVICE void store(const Problem& p, const Frames& frames,
                                          int64_t first_frame, int frame, int row, int32_t sum) {
    p.output.store(first_frame + frame, frames.scales[frame], row, p.shape.rows, sum);
  }
};

}  // namespace confpress::cuda

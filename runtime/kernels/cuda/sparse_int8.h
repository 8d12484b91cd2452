// Sparse int8 weights and frames that are quantised to int8 as they are loaded; sums are int32.
// passes/operators/sparselinear.py draws the layout.
#pragma once

#include "cuda/frames_int8.h"
#include "sparse/sparse_weights.h"

namespace confpress::cuda {

// Bytes first..first+3 of the eight in `low` and `high`, by the selector's four digits.
template <uint32_t kSelector>
CONFPRESS_HOST_DEVICE uint32_t bytes_of(uint32_t low, uint32_t high) {
#if defined(__CUDA_ARCH__)
  return __byte_perm(low, high, kSelector);
#else
  const uint64_t both = static_cast<uint64_t>(high) << 32 | low;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned from = kSelector >> 4 * i & 7;
    result |= static_cast<uint32_t>(both >> 8 * from & 0xFF) << 8 * i;
  }
  return result;
#endif
}

struct SparseInt8 {
  using Element = int8_t;
  using Sum = int32_t;
  static constexpr int kVector = sizeof(Chunk);
  static constexpr int kRows = 2;
  struct Problem {
    Shape shape;
    const float* x;           // [frames, columns]
    const uint32_t* weights;  // [strips, blocks, slots, 16], four int8 each
    const uint32_t* columns;  // the same shape, four uint8 each, 0..63
    int slots;
    Int8Output output;
  };
  using Frames = Int8Frames<kMostFrameLanes * kVector>;
  using Scratch = typename Frames::Scratch;

  template <class Threads, class Shared>
  static CONFPRESS_HOST_DEVICE void prepare(const Problem& p, Threads& threads, Shared& shared,
                                            int64_t first_frame, int frames) {
    shared.frames.find(p.x + first_frame * p.shape.columns, p.shape.columns,
                       existing_frames(p.shape, first_frame, frames), threads, shared.scratch);
  }

  static CONFPRESS_HOST_DEVICE int8_t element(const Problem& p, const Frames& frames,
                                              int64_t first_frame, int frame, int column) {
    return frames.code(p.x[(first_frame + frame) * p.shape.columns + column], frame);
  }

  template <class Read>
  static CONFPRESS_HOST_DEVICE void multiply(const Problem& p, int block, const int (&rows)[kRows],
                                             const Read& read, Sum (&sums)[kRows][kVector]) {
    constexpr int kStrip = static_cast<int>(kStripRows);
    size_t first[kRows];
    CONFPRESS_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const size_t strip = rows[r] / kStrip;
      first[r] = (strip * p.shape.blocks + block) * p.slots * kStrip + rows[r] % kStrip;
    }
    for (int j = 0; j < p.slots; ++j) {
      CONFPRESS_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const uint32_t weights = p.weights[first[r] + j * kStrip];
        const uint32_t columns = p.columns[first[r] + j * kStrip];
        Chunk x[4];
        CONFPRESS_UNROLL
        for (int i = 0; i < 4; ++i) x[i] = read(static_cast<int>(columns >> 8 * i & 0xFF));
        CONFPRESS_UNROLL
        for (int w = 0; w < 4; ++w) add_frames(x, w, weights, &sums[r][4 * w]);
      }
    }
  }

  static CONFPRESS_HOST_DEVICE void store(const Problem& p, const Frames& frames,
                                          int64_t first_frame, int frame, int row, int32_t sum) {
    p.output.store(first_frame + frame, frames.scales[frame], row, p.shape.rows, sum);
  }

 private:
  // Word w of four columns holds four frames of each: turned, four columns of each frame.
  static CONFPRESS_HOST_DEVICE void add_frames(const Chunk (&x)[4], int w, uint32_t weights,
                                               Sum* sums) {
    const uint32_t low01 = bytes_of<0x5140>(x[0].words[w], x[1].words[w]);
    const uint32_t high01 = bytes_of<0x7362>(x[0].words[w], x[1].words[w]);
    const uint32_t low23 = bytes_of<0x5140>(x[2].words[w], x[3].words[w]);
    const uint32_t high23 = bytes_of<0x7362>(x[2].words[w], x[3].words[w]);
    sums[0] = dot(bytes_of<0x5410>(low01, low23), weights, sums[0]);
    sums[1] = dot(bytes_of<0x7632>(low01, low23), weights, sums[1]);
    sums[2] = dot(bytes_of<0x5410>(high01, high23), weights, sums[2]);
    sums[3] = dot(bytes_of<0x7632>(high01, high23), weights, sums[3]);
  }
};

}  // namespace confpress::cuda

// Frames in float32 or float16 and sparse weights of any floating-point type; sums are float32.
// passes/operators/sparselinear_float.py draws the layout.
#pragma once

#include <cmath>

#include "cuda/half.h"
#include "cuda/product_block.h"

namespace confpress::cuda {

template <class T, class Weight = T>
struct SparseFloat {
  using Element = T;
  using Sum = float;
  static constexpr int kVector = sizeof(Chunk) / sizeof(T);
  static constexpr int kRows = 4;
  struct Problem {
    Shape shape;
    const T* x;              // [frames, columns]
    const Weight* weights;   // [blocks, rows, kept]
    const uint8_t* columns;  // the same shape, 0..63
    int kept;
    const float* bias;  // [rows]
    T* y;               // [frames, rows]
    Activation activation;
  };
  struct Frames {};
  struct Scratch {};

  template <class Threads, class Shared>
  static CONFPRESS_HOST_DEVICE void prepare(const Problem&, Threads&, Shared&, int64_t, int) {}

  static CONFPRESS_HOST_DEVICE T element(const Problem& p, const Frames&, int64_t first_frame,
                                         int frame, int column) {
    return p.x[(first_frame + frame) * p.shape.columns + column];
  }

  template <class Read>
  static CONFPRESS_HOST_DEVICE void multiply(const Problem& p, int block, const int (&rows)[kRows],
                                             const Read& read, Sum (&sums)[kRows][kVector]) {
    size_t first[kRows];
    CONFPRESS_UNROLL
    for (int r = 0; r < kRows; ++r) {
      first[r] = (static_cast<size_t>(block) * p.shape.rows + rows[r]) * p.kept;
    }
    for (int j = 0; j < p.kept; ++j) {
      CONFPRESS_UNROLL
      for (int r = 0; r < kRows; ++r) {
        union {
          Chunk chunk;
          T x[kVector];
        };
        chunk = read(p.columns[first[r] + j]);
        const float weight = to_float(p.weights[first[r] + j]);
        CONFPRESS_UNROLL
        for (int v = 0; v < kVector; ++v) {
          sums[r][v] = std::fma(weight, to_float(x[v]), sums[r][v]);
        }
      }
    }
  }

  static CONFPRESS_HOST_DEVICE void store(const Problem& p, const Frames&, int64_t first_frame,
                                          int frame, int row, float sum) {
    const float y = portable::activate(p.activation, sum + p.bias[row]);
    p.y[(first_frame + frame) * p.shape.rows + row] = from_float<T>(y);
  }
};

}  // namespace confpress::cuda

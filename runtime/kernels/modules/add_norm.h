// The end of a residual branch: scaled, added to the stream and normalised, row by row.
#pragma once

#include <cstddef>

#include "base/ranges.h"

namespace confpress {

struct LayerNorm {
  const float* weight;  // [width]
  const float* bias;    // [width]
  float epsilon;
};

struct AddNormProblem {
  const float* stream;  // [rows, width]
  const float* branch;  // [rows, width]
  float scale;          // of the branch
  size_t width;
  LayerNorm norms[2];
  size_t norm_count;  // 1: y0 is the sum and y1 its norm; 2: y0 is the first norm, y1 the second
  float* y0;
  float* y1;
};

// One instruction set's kernel.
struct AddNormKernel {
  void (*run)(const AddNormProblem&, Range rows) noexcept;
};

extern const AddNormKernel kAddNormPortable;
extern const AddNormKernel kAddNormAvx2;
extern const AddNormKernel kAddNormAvx512Vnni;

}  // namespace confpress

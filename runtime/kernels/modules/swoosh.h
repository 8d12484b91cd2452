// Swoosh, an activation of many floats.
#pragma once

#include <cstddef>

#include "base/ranges.h"

namespace confpress {

struct SwooshProblem {
  const float* x;
  float* y;
  float shift;   // of what the softplus is taken of
  float slope;   // of the line that is taken away
  float offset;  // and its value at zero
};

// One instruction set's kernel.
struct SwooshKernel {
  void (*run)(const SwooshProblem&, Range elements) noexcept;
};

extern const SwooshKernel kSwooshPortable;
extern const SwooshKernel kSwooshAvx2;
extern const SwooshKernel kSwooshAvx512Vnni;

}  // namespace confpress

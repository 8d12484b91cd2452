// The product of a SparseConv2d: the pieces of codes that one tap over time reads are frames of a
// sparse matrix of that tap's own.
#pragma once

#include "conv2d/conv2d_problem.h"
#include "sparse/sparse_weights.h"

namespace confpress {

static_assert(kConvStrip == kStripRows);

struct SparseConv2dProblem : Conv2dProblem {
  SparseWeights first_tap;  // over time; those of the others follow

  [[gnu::always_inline]] SparseWeights of_tap(size_t tap) const {
    SparseWeights w = first_tap;
    w.weights += tap * strips * w.strip_bytes();
    w.columns += tap * strips * w.strip_bytes();
    return w;
  }
};

using SparseConv2dKernel = Conv2dKernel<SparseConv2dProblem>;

extern const SparseConv2dKernel kSparseConv2dPortable;
extern const SparseConv2dKernel kSparseConv2dAvx2;
extern const SparseConv2dKernel kSparseConv2dInt7Avx2;  // of weights that fit_int7
extern const SparseConv2dKernel kSparseConv2dAvx512Vnni;
extern const SparseConv2dKernel kSparseConv2dAvx512Vbmi;

}  // namespace confpress

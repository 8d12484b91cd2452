// SparseLinear where the processor has VBMI.
#include "sparse/linear_sparse_avx512.h"
#include "sparse/sparse_look_up_avx512vbmi.h"

namespace confpress {
namespace {

void multiply(const LinearSparseProblem& p, Range frames, Range strips) noexcept {
  avx512::multiply_by_blocks<avx512::FrameTiles>(p, frames, strips);
}

}  // namespace

const LinearSparseKernel kLinearSparseAvx512Vbmi{
    &kFrameQuantizerAvx512Vnni, avx512::kSparseTileFrames, avx512::kSparseTileStrips, multiply};

}  // namespace confpress

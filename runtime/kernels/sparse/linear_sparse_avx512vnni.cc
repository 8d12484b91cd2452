// SparseLinear where the processor has VNNI without VBMI.
#include "sparse/linear_sparse_avx512.h"
#include "sparse/sparse_slots_avx512vnni.h"

namespace confpress {
namespace {

void multiply(const LinearSparseProblem& p, Range frames, Range strips) noexcept {
  avx512::multiply_by_reach<avx512::FrameTiles>(p.reach, p, frames, strips);
}

}  // namespace

const LinearSparseKernel kLinearSparseAvx512Vnni{
    &kFrameQuantizerAvx512Vnni, avx512::kSparseTileFrames, avx512::kSparseTileStrips, multiply};

}  // namespace confpress

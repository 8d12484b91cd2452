#include "conv2d/sparse_conv2d_avx512.h"
#include "sparse/sparse_look_up_avx512vbmi.h"

namespace confpress {
namespace {

void multiply(const SparseConv2dProblem& p, Range places, Range strips) noexcept {
  avx512::multiply_by_blocks<avx512::PlaceTiles>(p, places, strips);
}

}  // namespace

const SparseConv2dKernel kSparseConv2dAvx512Vbmi{sizeof(uint8_t), avx512::kSparseTileFrames,
                                                 avx512::kSparseTileStrips, multiply};

}  // namespace confpress

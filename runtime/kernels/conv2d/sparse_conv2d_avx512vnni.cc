#include "conv2d/sparse_conv2d_avx512.h"
#include "sparse/sparse_slots_avx512vnni.h"

namespace confpress {
namespace {

void multiply(const SparseConv2dProblem& p, Range places, Range strips) noexcept {
  avx512::multiply_by_reach<avx512::PlaceTiles>(p.first_tap.reach, p, places, strips);
}

}  // namespace

const SparseConv2dKernel kSparseConv2dAvx512Vnni{sizeof(uint8_t), avx512::kSparseTileFrames,
                                                 avx512::kSparseTileStrips, multiply};

}  // namespace confpress

// SparseLinear where the processor has VBMI: vpermb looks up in 64 bytes, a frame's whole block,
// for each of 16 rows four columns wherever they lie. So every pattern takes one look-up a slot.
#include "linear_sparse_avx512.h"
#include "permute_bytes_avx512.h"

namespace confpress {
namespace {

using namespace avx512;

struct BlockLookUp {
  static constexpr SlotReach kReach = SlotReach::kBlock;

  CONFPRESS_INLINE static __m512i table_at(const std::byte* codes) {
    __m512i block;
    __asm__ volatile("vmovdqu64 %1, %0"
                     : "=v"(block)
                     : "m"(*reinterpret_cast<const __m512i_u*>(codes)));
    return block;
  }
  CONFPRESS_INLINE static __m512i in(__m512i block, __m512i places) {
    return permute_bytes(block, places);
  }
};

void multiply(const LinearSparseProblem& p, Range frames, Range strips) noexcept {
  multiply_sparse<DirectSlot<BlockLookUp, 2>, DirectSlot<BlockLookUp, 1>>(p, frames, strips);
}

}  // namespace

const LinearSparseKernel kLinearSparseAvx512Vbmi{&kFrameQuantizerAvx512Vnni, nullptr,
                                                 kSparseTileFrames, kSparseTileStrips, multiply};

}  // namespace confpress

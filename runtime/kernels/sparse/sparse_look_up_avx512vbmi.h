// Look-ups of sparse weights where the processor has VBMI: vpermb looks up in 64 bytes, a frame's
// whole block, for each of 16 rows four columns wherever they lie. So every pattern takes one
// look-up a slot.
#pragma once

#include "lanes/permute_bytes_avx512.h"
#include "sparse/sparse_tile_avx512.h"

namespace confpress::avx512 {

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

// Computes y with slots of these look-ups.
template <class Tiles, class Problem>
void multiply_by_blocks(const Problem& p, Range frames, Range strips) {
  multiply_sparse<Tiles, DirectSlot<BlockLookUp, 2>, DirectSlot<BlockLookUp, 1>>(p, frames, strips);
}

}  // namespace confpress::avx512

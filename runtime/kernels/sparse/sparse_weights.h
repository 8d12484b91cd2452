// Packed sparse int8 weights of a matrix: strips of 16 rows, in a strip slots of 4 non-zeros a row,
// 64 bytes each, with as many bytes that name their columns. The non-zeros of a slot lie in one
// block of 64 columns, the same in all strips.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/ranges.h"
#include "linear/linear_int8.h"

namespace confpress {

constexpr size_t kBlockColumns = 64;
constexpr size_t kWindowColumns = 16;  // what one table look-up in bytes reaches
constexpr size_t kWindowsOfBlock = kBlockColumns / kWindowColumns;
constexpr size_t kSlotValues = 4;
constexpr size_t kSlotBytes = kStripRows * kSlotValues;

// Where the columns of a slot lie.
enum class SlotReach {
  kWindow,  // in one window
  kPair,    // the first two in a window, the others in the next, which are halves of 32 columns
  kBlock,   // anywhere in the block
};

constexpr size_t reached_columns(SlotReach reach) {
  return reach == SlotReach::kBlock  ? kBlockColumns
         : reach == SlotReach::kPair ? 2 * kWindowColumns
                                     : kWindowColumns;
}

struct SparseWeights {
  const int8_t* weights;    // [strips, stored, 16, 4]
  const uint8_t* columns;   // the same shape, 0..63
  const uint32_t* windows;  // [stored], the first column of the window of a slot's first non-zero
  size_t stored;            // slots of a strip
  size_t slots;             // of these are computed: the last read only what is beyond the columns
  SlotReach reach;

  [[gnu::always_inline]] size_t strip_bytes() const { return stored * kSlotBytes; }
  // The first column that a slot may read. Slots of one window or a pair begin there: kernels of
  // these are used where all slots reach no further, and have no instruction to spare.
  template <SlotReach kReach>
  [[gnu::always_inline]] size_t first_column(size_t slot) const {
    if (kReach != SlotReach::kBlock) return windows[slot];
    return windows[slot] / kBlockColumns * kBlockColumns;
  }
};

}  // namespace confpress

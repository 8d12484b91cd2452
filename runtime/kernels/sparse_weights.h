// Packed sparse int8 weights of a matrix: strips of 16 rows, in a strip blocks of 64 columns, in a
// block slots of 4 non-zeros a row, 64 bytes each, with as many bytes that name their columns.
#pragma once

#include <cstddef>
#include <cstdint>

#include "linear_int8.h"
#include "ranges.h"

namespace confpress {

constexpr size_t kBlockColumns = 64;
constexpr size_t kWindowColumns = 16;  // what one table look-up in bytes reaches
constexpr size_t kWindowsOfBlock = kBlockColumns / kWindowColumns;
constexpr size_t kSlotValues = 4;
constexpr size_t kSlotBytes = kStripRows * kSlotValues;

// Where the columns of slot j of n lie.
enum class SlotReach {
  kWindow,  // in window 4 j / n
  kPair,    // n = 2: the first two in window 2 j, the others in window 2 j + 1
  kBlock,   // anywhere in the block
};

constexpr size_t reached_columns(SlotReach reach) {
  return reach == SlotReach::kBlock  ? kBlockColumns
         : reach == SlotReach::kPair ? 2 * kWindowColumns
                                     : kWindowColumns;
}

struct SparseWeights {
  const int8_t* weights;   // [strips, blocks, slots, 16, 4]
  const uint8_t* columns;  // the same shape, 0..63
  size_t blocks;
  size_t slots;        // of a strip that are computed: none reads only what is beyond the columns
  unsigned log_slots;  // a block has 2^log_slots
  SlotReach reach;

  [[gnu::always_inline]] size_t strip_bytes() const { return (blocks << log_slots) * kSlotBytes; }
  // The first column that a slot of the strip may read: in steps of what it reaches.
  template <SlotReach kReach>
  [[gnu::always_inline]] size_t first_column(size_t slot) const {
    return slot * (kBlockColumns >> log_slots) / reached_columns(kReach) * reached_columns(kReach);
  }
};

}  // namespace confpress

// Packed sparse int8 weights as operators read them when they are made.
#pragma once

#include <algorithm>
#include <string>

#include "custom_op.h"
#include "sparse_columns.h"
#include "sparse_weights.h"

namespace confpress {

constexpr unsigned kMostLogSlots = 3;

// W has three dimensions behind its blocks, of which `axis` is the first.
inline unsigned log_slots_of(const char* op, const Tensor& weights, size_t axis) {
  static constexpr const char* kNumbers[] = {"five", "six"};
  static constexpr const char* kOrdinals[] = {"third", "fourth"};
  if (weights.shape.size() == axis + 3) {
    for (unsigned log = 0; log <= kMostLogSlots; ++log) {
      if (weights.shape[axis] == int64_t{1} << log) return log;
    }
  }
  throw Error(std::string(op) + "'s input W has the shape " + text_of(weights.shape) +
              " where it must have " + kNumbers[axis - 2] + " dimensions, the " +
              kOrdinals[axis - 2] + " 1, 2, 4 or 8.");
}

// Checks every column, sums every row, and finds what the columns of a slot have in common.
class SparseReader {
 public:
  // Of matrices with so many columns.
  SparseReader(const char* op, size_t columns, unsigned log_slots)
      : op_(op),
        columns_(columns),
        blocks_(ceil_div(columns, kBlockColumns)),
        log_slots_(log_slots),
        window_((size_t{1} << log_slots) >= kWindowsOfBlock),
        pair_((size_t{1} << log_slots) == kWindowsOfBlock / 2) {}

  // Some strips; adds up their rows in `sums`.
  void read(const int8_t* weights, const uint8_t* places, size_t strips, int32_t* sums) {
    const size_t slots = size_t{1} << log_slots_;
    for (size_t strip = 0; strip < strips; ++strip, sums += kStripRows) {
      for (size_t block = 0; block < blocks_; ++block) {
        const size_t width = std::min(kBlockColumns, columns_ - block * kBlockColumns);
        uint64_t seen[kStripRows] = {};
        for (size_t slot = 0; slot < slots; ++slot) {
          const size_t of_slot = slot * kWindowsOfBlock / slots;
          for (size_t row = 0; row < kStripRows; ++row) {
            for (size_t i = 0; i < kSlotValues; ++i, ++weights, ++places) {
              take_column(op_, *places, *weights != 0, width, seen[row]);
              sums[row] += *weights;
              window_ &= *places / kWindowColumns == of_slot;
              pair_ &= *places / kWindowColumns == of_slot + i / 2;
            }
          }
        }
      }
    }
  }

  // What was read, for kernels.
  SparseWeights weights(const int8_t* weights, const uint8_t* places) const {
    const size_t reached = reached_columns(reach());
    const size_t slots = (ceil_div(columns_, reached) * reached << log_slots_) / kBlockColumns;
    return {weights, places, blocks_, slots, log_slots_, reach()};
  }

 private:
  SlotReach reach() const {
    return window_ ? SlotReach::kWindow : pair_ ? SlotReach::kPair : SlotReach::kBlock;
  }

  const char* const op_;
  const size_t columns_;
  const size_t blocks_;
  const unsigned log_slots_;
  bool window_;
  bool pair_;
};

}  // namespace confpress

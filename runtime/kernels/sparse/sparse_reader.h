// Packed sparse int8 weights as operators read them when they are made.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "sparse/sparse_columns.h"
#include "sparse/sparse_weights.h"

namespace confpress {

// Checks every column, sums every row, and finds what the columns of a slot have in common.
class SparseReader {
 public:
  // Of matrices with so many columns, and the block of each slot.
  SparseReader(const char* op, size_t columns, std::vector<int32_t> blocks)
      : op_(op), columns_(columns), blocks_(std::move(blocks)) {}

  // All strips; adds up their rows in `sums`.
  void read(const int8_t* weights, const uint8_t* places, size_t strips, int32_t* sums) {
    windows_.resize(blocks_.size());
    for (size_t strip = 0; strip < strips; ++strip, sums += kStripRows) {
      uint64_t seen[kStripRows] = {};
      for (size_t slot = 0; slot < blocks_.size(); ++slot) {
        const size_t first = static_cast<size_t>(blocks_[slot]) * kBlockColumns;
        const size_t width = std::min(kBlockColumns, columns_ - first);
        if (slot > 0 && blocks_[slot] != blocks_[slot - 1]) std::fill_n(seen, kStripRows, 0);
        if (strip == 0) windows_[slot] = static_cast<uint32_t>(first + window_of(*places));
        const size_t window = windows_[slot];
        pair_ &= window % reached_columns(SlotReach::kPair) == 0;
        for (size_t row = 0; row < kStripRows; ++row) {
          for (size_t i = 0; i < kSlotValues; ++i, ++weights, ++places) {
            take_column(op_, *places, *weights != 0, width, seen[row]);
            sums[row] += *weights;
            const size_t own = first + window_of(*places);
            window_ &= own == window;
            pair_ &= own == window + i / 2 * kWindowColumns;
          }
        }
      }
    }
  }

  // What was read, for kernels; the reader must live as long as they run.
  SparseWeights weights(const int8_t* weights, const uint8_t* places) const {
    const SlotReach reach = window_ ? SlotReach::kWindow
                            : pair_ ? SlotReach::kPair
                                    : SlotReach::kBlock;
    SparseWeights result{weights, places, windows_.data(), blocks_.size(), blocks_.size(), reach};
    const size_t reached = reached_columns(reach);
    // Kernels begin with a first slot, whatever it reads.
    while (result.slots > 1 && windows_[result.slots - 1] / reached * reached >= columns_) {
      --result.slots;
    }
    return result;
  }

 private:
  // The first column, in its block, of a column's window.
  static size_t window_of(size_t column) {
    return column % kBlockColumns / kWindowColumns * kWindowColumns;
  }

  const char* const op_;
  const size_t columns_;
  const std::vector<int32_t> blocks_;
  std::vector<uint32_t> windows_;  // the first column of the window where each slot begins
  bool window_ = true;
  bool pair_ = true;
};

}  // namespace confpress

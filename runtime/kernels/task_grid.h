// The order in which a product's tiles are computed.
//
// Frames x strips of rows are cut into tasks, numbered so that neighbours share what they read and
// write: all frames with one block of weights that stays in the second cache; in it, a few frames
// at a time with all the block's strips, so that the rows of Y being written are few.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "ranges.h"

namespace confpress {

class TaskGrid {
 public:
  // Tasks of at most so many frames and strips; a strip's weights take `strip_bytes`.
  TaskGrid(size_t frames, size_t frames_of_task, size_t strips, size_t strips_of_task,
           size_t strip_bytes)
      : frames_(frames),
        strips_(strips),
        rows_(ceil_div(frames, frames_of_task)),
        columns_(ceil_div(strips, strips_of_task)),
        block_columns_(
            std::clamp<size_t>(kBlockBytes / (strips_of_task * strip_bytes), 1, columns_)) {}

  size_t count() const { return rows_ * columns_; }

  // The frames and the strips of a task.
  std::pair<Range, Range> operator[](size_t task) const {
    const size_t block = task / (rows_ * block_columns_);
    const size_t first = block * block_columns_;
    const size_t width = std::min(block_columns_, columns_ - first);
    const size_t in_block = task - rows_ * first;
    return {part({0, frames_}, rows_, in_block / width),
            part({0, strips_}, columns_, first + in_block % width)};
  }

 private:
  static constexpr size_t kBlockBytes = 256 * 1024;

  size_t frames_;
  size_t strips_;
  size_t rows_;
  size_t columns_;
  size_t block_columns_;
};

}  // namespace confpress

// The order in which a product's tiles are computed.
//
// Frames x strips of rows are cut into tasks, numbered so that neighbours share what they read and
// write: all frames with one block of weights that stays in the second cache; in it, a few frames
// at a time with all the block's strips, so that the rows of Y being written are few.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "base/ranges.h"

namespace confpress {

class TaskGrid {
 public:
  // Tasks of at most so many frames and strips; a strip's weights take `strip_bytes`.
  TaskGrid(size_t frames, size_t frames_of_task, size_t strips, size_t strips_of_task,
           size_t strip_bytes)
      : frames_(cut({0, frames}, ceil_div(frames, frames_of_task))),
        strips_(cut({0, strips}, ceil_div(strips, strips_of_task))),
        block_columns_(
            std::clamp<size_t>(kBlockBytes / (strips_of_task * strip_bytes), 1, strips_.count)) {}

  size_t count() const { return frames_.count * strips_.count; }

  // The frames and the strips of a task.
  std::pair<Range, Range> operator[](size_t task) const {
    const size_t first = divided(task, frames_.count * block_columns_).whole * block_columns_;
    const size_t width = std::min(block_columns_, strips_.count - first);
    const Quotient place = divided(task - frames_.count * first, width);
    return {part(frames_, place.whole), part(strips_, first + place.rest)};
  }

 private:
  static constexpr size_t kBlockBytes = 256 * 1024;

  Parts frames_;
  Parts strips_;
  size_t block_columns_;
};

}  // namespace confpress

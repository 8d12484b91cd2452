// The columns that operators with sparse weights read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/custom_op.h"

namespace confpress {

// Columns of a block.
constexpr size_t kSparseColumns = 64;

// Checks a column of a row's block, `width` of which exist, and adds it to those `seen`.
inline void take_column(const char* op, size_t column, bool has_weight, size_t width,
                        uint64_t& seen) {
  const char* problem = nullptr;
  if (column >= kSparseColumns) {
    problem = "is not below 64.";
  } else if (column >= width && has_weight) {
    problem = "holds a weight beyond the last column.";
  } else if (seen >> column & 1) {
    problem = "is named twice in a row of a block.";
  } else {
    seen |= uint64_t{1} << column;
    return;
  }
  throw Error(std::string(op) + "'s input columns is wrong: the column " + std::to_string(column) +
              " " + problem);
}

}  // namespace confpress

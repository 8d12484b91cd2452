// To which block of 64 columns each slot of a strip of sparse int8 weights belongs: layouts differ
// in nothing else.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/custom_op.h"
#include "linear/linear_inputs.h"
#include "sparse/sparse_weights.h"

namespace confpress {

// As many slots in every block: W has three dimensions behind its blocks, of which `axis` is the
// first.
inline std::vector<int32_t> even_slots(const char* op, const Tensor& weights, size_t axis,
                                       size_t blocks) {
  static constexpr const char* kNumbers[] = {"five", "six"};
  static constexpr const char* kOrdinals[] = {"third", "fourth"};
  const int64_t slots = weights.shape.size() == axis + 3 ? weights.shape[axis] : 0;
  if (slots != 1 && slots != 2 && slots != 4 && slots != 8) {
    throw Error(std::string(op) + "'s input W has the shape " + text_of(weights.shape) +
                " where it must have " + kNumbers[axis - 2] + " dimensions, the " +
                kOrdinals[axis - 2] + " 1, 2, 4 or 8.");
  }
  std::vector<int32_t> result;
  for (size_t block = 0; block < blocks; ++block) {
    result.insert(result.end(), static_cast<size_t>(slots), static_cast<int32_t>(block));
  }
  return result;
}

// As many as the tensor `blocks` says, which names each slot's.
inline std::vector<int32_t> uneven_slots(const char* op, const Tensor& weights,
                                         const Tensor& of_slots, size_t blocks) {
  const int64_t slots = weights.shape.size() == 4 ? weights.shape[1] : 0;
  const auto most = static_cast<int64_t>(blocks * kBlockColumns / kSlotValues);
  if (slots < 1 || slots > most) {
    throw Error(std::string(op) + "'s input W has the shape " + text_of(weights.shape) +
                " where it must have four dimensions, the second 1 to " + std::to_string(most) +
                ".");
  }
  require(op, of_slots, "blocks", ort::kInt32, {slots});
  std::vector<int32_t> result(of_slots.as<int32_t>(), of_slots.as<int32_t>() + slots);
  if (!std::is_sorted(result.begin(), result.end()) || result.front() < 0 ||
      result.back() >= static_cast<int64_t>(blocks)) {
    throw Error(std::string(op) + "'s input blocks is wrong: it must ascend from 0 to " +
                std::to_string(blocks - 1) + " at most.");
  }
  return result;
}

}  // namespace confpress

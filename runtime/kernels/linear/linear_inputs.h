// What the operators of linear layers check and prepare alike.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/custom_op.h"

namespace confpress {

// A constant or an input must have this type and shape; `op` and `name` are for the message.
inline void require(const char* op, const Tensor& tensor, const char* name, ort::ElementType type,
                    const std::vector<int64_t>& shape) {
  if (tensor.type != type) {
    throw Error(std::string(op) + "'s input " + name + " has the wrong element type.");
  }
  if (tensor.shape != shape) {
    throw Error(std::string(op) + "'s input " + name + " has the shape " + text_of(tensor.shape) +
                " where its weight's shape asks for " + text_of(shape) + ".");
  }
}

// The attribute shape, [N, K], with K up to `most_columns`.
inline std::pair<size_t, size_t> shape_attribute(const char* op, const KernelInfo& info,
                                                 int64_t most_columns) {
  const std::vector<int64_t> shape = info.ints("shape");
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1 || shape[0] > INT32_MAX ||
      shape[1] > most_columns) {
    throw Error(std::string(op) + "'s attribute shape is " + text_of(shape) +
                " where it must be [N, K] with N at least 1 and K from 1 to " +
                std::to_string(most_columns) + ".");
  }
  return {static_cast<size_t>(shape[0]), static_cast<size_t>(shape[1])};
}

// A copy with zeros up to the end of the last strip, so that kernels read whole registers.
template <class T>
std::vector<T> padded(const T* values, size_t count, size_t size) {
  std::vector<T> copy(size, T{0});
  std::copy_n(values, count, copy.begin());
  return copy;
}

// X is [..., columns] and Y [..., rows]: y's shape and memory, and how many frames there are.
template <class T>
struct FramesOf {
  const T* x;
  T* y;
  size_t count;
};
using Frames = FramesOf<float>;

template <class T = float>
FramesOf<T> frames_of(const char* op, const KernelContext& context, size_t columns, size_t rows) {
  const Tensor x = context.input(0);
  if (x.shape.empty() || x.shape.back() != static_cast<int64_t>(columns)) {
    throw Error(std::string(op) + "'s input X has the shape " + text_of(x.shape) +
                " where its last dimension must be " + std::to_string(columns) + ".");
  }
  std::vector<int64_t> shape = x.shape;
  shape.back() = static_cast<int64_t>(rows);
  FramesOf<T> frames{x.as<T>(), context.output<T>(0, shape), 1};
  for (size_t i = 0; i + 1 < shape.size(); ++i) frames.count *= static_cast<size_t>(shape[i]);
  return frames;
}

}  // namespace confpress

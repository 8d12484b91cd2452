// What the CUDA operators share: errors and the initializers' values.
#pragma once

#include <string>
#include <vector>

#include "../custom_op.h"
#include "launch.h"

namespace confpress::cuda {

constexpr const char kProviderName[] = "CUDAExecutionProvider";

// Throws where CUDA refused.
inline void check(const char* op, const char* error, const char* what) {
  if (error == nullptr) return;
  throw Error(std::string(op) + " could not " + what + " on the GPU: CUDA says \"" + error + "\".");
}

// The values of an initializer, which ONNX Runtime keeps in the GPU's memory.
template <class T>
std::vector<T> on_host(const char* op, const T* values, size_t count) {
  std::vector<T> copy(count);
  check(op, copy_to_host(copy.data(), values, count * sizeof(T)), "read its weights");
  return copy;
}

}  // namespace confpress::cuda

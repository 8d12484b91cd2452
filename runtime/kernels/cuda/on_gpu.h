// What the CUDA operators share: errors and the initializers' values.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/custom_op.h"
#include "cuda/launch.h"

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

// Values that are kept in the GPU's memory as long as this object; maybe none.
template <class T>
class OnGpu {
 public:
  OnGpu() = default;
  OnGpu(const char* op, const std::vector<T>& values) {
    if (values.empty()) return;
    void* memory = nullptr;
    check(op, copy_to_gpu(&memory, values.data(), values.size() * sizeof(T)), "keep its weights");
    memory_.reset(memory);
  }
  const T* data() const { return static_cast<const T*>(memory_.get()); }

 private:
  struct Free {
    void operator()(void* memory) const { free_on_gpu(memory); }
  };
  std::unique_ptr<void, Free> memory_;
};

}  // namespace confpress::cuda

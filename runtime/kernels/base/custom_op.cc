#include "base/custom_op.h"

namespace confpress {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

Tensor tensor_of(const ort::Api& api, const ort::Value* value) {
  ort::TensorTypeAndShapeInfo* raw = nullptr;
  check(api, api.GetTensorTypeAndShape(value, &raw), "give a tensor's shape");
  const std::unique_ptr<ort::TensorTypeAndShapeInfo, void (*)(ort::TensorTypeAndShapeInfo*)> info(
      raw, api.ReleaseTensorTypeAndShapeInfo);

  Tensor tensor{};
  check(api, api.GetTensorElementType(info.get(), &tensor.type), "give a tensor's type");
  size_t rank = 0;
  check(api, api.GetDimensionsCount(info.get(), &rank), "give a tensor's rank");
  tensor.shape.resize(rank);
  check(api, api.GetDimensions(info.get(), tensor.shape.data(), rank), "give a tensor's shape");
  // The C API has one function for reading and writing; inputs are only read.
  auto* mutable_value = const_cast<ort::Value*>(value);
  check(api, api.GetTensorMutableData(mutable_value, &tensor.data), "give a tensor's data");
  return tensor;
}

std::string text_of(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

std::vector<int64_t> KernelInfo::ints(const char* attribute) const {
  const std::string what = std::string("read the attribute ") + attribute;
  size_t count = 0;
  check(api_, api_.KernelInfoGetAttributeArray_int64(info_, attribute, nullptr, &count),
        what.c_str());
  std::vector<int64_t> values(count);
  check(api_, api_.KernelInfoGetAttributeArray_int64(info_, attribute, values.data(), &count),
        what.c_str());
  return values;
}

float KernelInfo::number(const char* attribute) const {
  float value = 0.0f;
  check(api_, api_.KernelInfoGetAttribute_float(info_, attribute, &value),
        (std::string("read the attribute ") + attribute).c_str());
  return value;
}

Tensor KernelInfo::constant(size_t index, const char* name) const {
  int is_constant = 0;
  const ort::Value* value = nullptr;
  check(api_, api_.KernelInfoGetConstantInput_tensor(info_, index, &is_constant, &value),
        "look up a constant input");
  if (!is_constant || value == nullptr) {
    throw Error(std::string("Input ") + name + " must be an initializer of the model.");
  }
  return tensor_of(api_, value);
}

Tensor KernelContext::input(size_t index) const {
  const ort::Value* value = nullptr;
  check(api_, api_.KernelContext_GetInput(context_, index, &value), "give an input");
  return tensor_of(api_, value);
}

void* KernelContext::output_data(size_t index, const std::vector<int64_t>& shape) const {
  ort::Value* value = nullptr;
  check(api_, api_.KernelContext_GetOutput(context_, index, shape.data(), shape.size(), &value),
        "allocate an output");
  void* data = nullptr;
  check(api_, api_.GetTensorMutableData(value, &data), "give an output's data");
  return data;
}

void* KernelContext::stream() const {
  void* stream = nullptr;
  check(api_, api_.KernelContext_GetGPUComputeStream(context_, &stream), "give its CUDA stream");
  return stream;
}

KernelContext::Scratch::Scratch(const KernelContext& context, size_t bytes) : api_(context.api_) {
  ort::MemoryInfo* memory = nullptr;
  check(api_, api_.CreateCpuMemoryInfo(ort::kArenaAllocator, ort::kMemoryDefault, &memory),
        "describe its memory");
  ort::Status* status = api_.KernelContext_GetAllocator(context.context_, memory, &allocator_);
  api_.ReleaseMemoryInfo(memory);
  check(api_, status, "give its allocator");
  status = api_.AllocatorAlloc(allocator_, bytes + kAlignment, &block_);
  if (block_ == nullptr) {
    if (status != nullptr) api_.ReleaseStatus(status);
    api_.ReleaseAllocator(allocator_);
    throw std::bad_alloc();
  }
  const auto address = reinterpret_cast<uintptr_t>(block_);
  aligned_ = static_cast<std::byte*>(block_) + (kAlignment - address % kAlignment) % kAlignment;
}

KernelContext::Scratch::~Scratch() {
  allocator_->Free(allocator_, block_);
  api_.ReleaseAllocator(allocator_);
}

}  // namespace confpress

// Hostile models against the kernels, under sanitizers: a small runtime of its own stands in for
// ONNX Runtime, holds every tensor in memory of exactly its size, and feeds the operators of the
// library well-formed layers of which some numbers are then spoiled. Whatever is refused must be
// refused with a sentence, and whatever runs must stay inside its tensors.
//
// With libFuzzer (CONFPRESS_LIBFUZZER) the bytes come from the fuzzer; otherwise from a generator:
//   fuzz <cases> [<seed> [<file for all outputs>]]
// where the file, floats in native order with each tensor's size in front, lets instruction sets be
// compared with each other.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ort_api.h"

namespace confpress::ort {

struct Status {
  std::string message;
};
struct TensorTypeAndShapeInfo {
  ElementType type;
  std::vector<int64_t> shape;
};
struct MemoryInfo {};
struct Value {
  TensorTypeAndShapeInfo info;
  std::unique_ptr<unsigned char[]> data;
};
struct CustomOpDomain {
  std::vector<const CustomOp*> operators;
};
struct SessionOptions {
  CustomOpDomain* domain = nullptr;
};
struct KernelInfo {
  std::map<std::string, std::vector<int64_t>> ints;
  std::map<std::string, float> floats;
  std::vector<const Value*> constants;  // null where an input is not constant

  // K of the attribute shape, [N, K], or of what a tap over time reads, [N, channels, taps, taps].
  int64_t columns() const {
    const auto found = ints.find("shape");
    if (found == ints.end() || found->second.size() < 2) return 0;
    const auto& shape = found->second;
    int64_t product = 0;
    const int64_t taps = shape.size() == 4 ? shape[3] : 1;
    return __builtin_mul_overflow(shape[1], taps, &product) ? 0 : product;
  }
};
struct KernelContext {
  const CustomOp* op;
  std::vector<const Value*> inputs;
  std::vector<std::unique_ptr<Value>> outputs;
};

}  // namespace confpress::ort

extern "C" confpress::ort::Status* RegisterCustomOps(confpress::ort::SessionOptions*,
                                                     const confpress::ort::ApiBase*);

namespace {

using namespace confpress;
using Shape = std::vector<int64_t>;
using ValuePtr = std::unique_ptr<ort::Value>;

constexpr size_t kMostBytes = size_t{1} << 26;

size_t bytes_of(ort::ElementType type) {
  switch (type) {
    case ort::kFloat:
    case ort::kInt32:
      return 4;
    case ort::kInt64:
      return 8;
    case ort::kBFloat16:
      return 2;
    default:
      return 1;
  }
}

ort::Status* failed(const std::string& message) { return new ort::Status{message}; }

// A tensor in memory of exactly its size, or null where it would be absurdly large.
ValuePtr make_value(ort::ElementType type, const Shape& shape) {
  size_t bytes = bytes_of(type);
  for (const int64_t size : shape) {
    if (size < 0 || static_cast<size_t>(size) > kMostBytes) return nullptr;
    bytes *= static_cast<size_t>(size);
    if (bytes > kMostBytes) return nullptr;
  }
  auto value = std::make_unique<ort::Value>();
  value->info = {type, shape};
  value->data.reset(new unsigned char[bytes]());
  return value;
}

size_t count_of(const ort::Value& value) {
  size_t count = 1;
  for (const int64_t size : value.info.shape) count *= static_cast<size_t>(size);
  return count;
}

ort::Allocator allocator{1, nullptr, [](ort::Allocator*, void* p) { std::free(p); }, nullptr};

ort::Api make_api() {
  ort::Api api{};
  api.CreateStatus = [](ort::ErrorCode, const char* message) { return failed(message); };
  api.ReleaseStatus = [](ort::Status* status) { delete status; };
  api.CreateCustomOpDomain = [](const char*, ort::CustomOpDomain** out) -> ort::Status* {
    static ort::CustomOpDomain domain;
    *out = &domain;
    return nullptr;
  };
  api.CustomOpDomain_Add = [](ort::CustomOpDomain* domain,
                              const ort::CustomOp* op) -> ort::Status* {
    domain->operators.push_back(op);
    return nullptr;
  };
  api.AddCustomOpDomain = [](ort::SessionOptions* options,
                             ort::CustomOpDomain* domain) -> ort::Status* {
    options->domain = domain;
    return nullptr;
  };
  api.GetTensorMutableData = [](ort::Value* value, void** out) -> ort::Status* {
    *out = value->data.get();
    return nullptr;
  };
  api.GetTensorTypeAndShape = [](const ort::Value* value,
                                 ort::TensorTypeAndShapeInfo** out) -> ort::Status* {
    *out = new ort::TensorTypeAndShapeInfo(value->info);
    return nullptr;
  };
  api.ReleaseTensorTypeAndShapeInfo = [](ort::TensorTypeAndShapeInfo* info) { delete info; };
  api.GetTensorElementType = [](const ort::TensorTypeAndShapeInfo* info,
                                ort::ElementType* out) -> ort::Status* {
    *out = info->type;
    return nullptr;
  };
  api.GetDimensionsCount = [](const ort::TensorTypeAndShapeInfo* info,
                              size_t* out) -> ort::Status* {
    *out = info->shape.size();
    return nullptr;
  };
  api.GetDimensions = [](const ort::TensorTypeAndShapeInfo* info, int64_t* out,
                         size_t count) -> ort::Status* {
    std::copy_n(info->shape.begin(), std::min(count, info->shape.size()), out);
    return nullptr;
  };
  api.CreateCpuMemoryInfo = [](ort::AllocatorType, ort::MemoryType,
                               ort::MemoryInfo** out) -> ort::Status* {
    *out = new ort::MemoryInfo;
    return nullptr;
  };
  api.ReleaseMemoryInfo = [](ort::MemoryInfo* info) { delete info; };
  api.KernelInfoGetAttribute_float = [](const ort::KernelInfo* info, const char* name,
                                        float* out) -> ort::Status* {
    const auto found = info->floats.find(name);
    if (found == info->floats.end()) return failed("no such attribute");
    *out = found->second;
    return nullptr;
  };
  api.KernelInfoGetAttributeArray_int64 = [](const ort::KernelInfo* info, const char* name,
                                             int64_t* out, size_t* size) -> ort::Status* {
    const auto found = info->ints.find(name);
    if (found == info->ints.end()) return failed("no such attribute");
    if (out != nullptr) std::copy_n(found->second.begin(), *size, out);
    *size = found->second.size();
    return nullptr;
  };
  api.KernelInfoGetConstantInput_tensor = [](const ort::KernelInfo* info, size_t index,
                                             int* is_constant,
                                             const ort::Value** out) -> ort::Status* {
    *out = index < info->constants.size() ? info->constants[index] : nullptr;
    *is_constant = *out != nullptr;
    return nullptr;
  };
  api.KernelContext_GetInput = [](const ort::KernelContext* context, size_t index,
                                  const ort::Value** out) -> ort::Status* {
    *out = context->inputs[index];
    return nullptr;
  };
  api.KernelContext_GetOutput = [](ort::KernelContext* context, size_t index,
                                   const int64_t* dimensions, size_t count,
                                   ort::Value** out) -> ort::Status* {
    const ort::ElementType type = context->op->GetOutputType(context->op, index);
    ValuePtr value = make_value(type, Shape(dimensions, dimensions + count));
    if (value == nullptr) return failed("an output is too large");
    if (context->outputs.size() <= index) context->outputs.resize(index + 1);
    *out = (context->outputs[index] = std::move(value)).get();
    return nullptr;
  };
  api.KernelContext_GetAllocator = [](const ort::KernelContext*, const ort::MemoryInfo*,
                                      ort::Allocator** out) -> ort::Status* {
    *out = &allocator;
    return nullptr;
  };
  api.AllocatorAlloc = [](ort::Allocator*, size_t bytes, void** out) -> ort::Status* {
    if (bytes > kMostBytes) return failed("no such memory");
    *out = std::malloc(bytes);
    return nullptr;
  };
  api.ReleaseAllocator = [](ort::Allocator*) {};
  // Backwards: tasks may run in any order.
  api.KernelContext_ParallelFor = [](const ort::KernelContext*, void (*task)(void*, size_t),
                                     size_t total, size_t, void* data) -> ort::Status* {
    while (total > 0) task(data, --total);
    return nullptr;
  };
  return api;
}

const ort::Api& api() {
  static const ort::Api table = make_api();
  return table;
}

const std::vector<const ort::CustomOp*>& operators() {
  static const std::vector<const ort::CustomOp*> list = [] {
    static const ort::ApiBase base{[](uint32_t) { return &api(); }, nullptr};
    ort::SessionOptions options;
    if (ort::Status* status = RegisterCustomOps(&options, &base)) {
      std::fprintf(stderr, "%s\n", status->message.c_str());
      std::abort();
    }
    return options.domain->operators;
  }();
  return list;
}

// Numbers out of a string of bytes; zeros when it has ended.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), end_(data + size) {}
  uint8_t next() { return data_ == end_ ? 0 : *data_++; }
  int64_t up_to(int64_t most) { return ((next() << 8) | next()) % (most + 1); }
  bool rarely() { return next() < 12; }
  int64_t hostile() {
    static constexpr int64_t kNumbers[] = {0,
                                           -1,
                                           1,
                                           3,
                                           17,
                                           255,
                                           256,
                                           65536,
                                           131072,
                                           131073,
                                           INT32_MAX,
                                           int64_t{INT32_MAX} + 1,
                                           int64_t{1} << 32,
                                           int64_t{1} << 61,
                                           int64_t{1} << 62,
                                           INT64_MAX,
                                           INT64_MIN,
                                           INT64_MIN + 16};
    return kNumbers[next() % (sizeof kNumbers / sizeof *kNumbers)];
  }

 private:
  const uint8_t* data_;
  const uint8_t* end_;
};

int64_t groups_of(int64_t size, int64_t group) { return (size + group - 1) / group; }

// A layer: attributes, the shapes of its inputs, and which of them are constants.
struct Case {
  ort::KernelInfo info;
  std::vector<Shape> shapes;
  size_t first_constant = SIZE_MAX;
};

Case linear_case(const std::string& name, Bytes& bytes) {
  Case c;
  const int64_t n = 1 + bytes.up_to(70);
  const int64_t k = 1 + bytes.up_to(bytes.rarely() ? 1200 : 150);
  const int64_t bits = name.find("4Bit") != name.npos ? 4 : name.find("2Bit") != name.npos ? 2 : 8;
  const int64_t strips = groups_of(n, 16);
  c.info.ints["shape"] = {n, k};
  c.shapes = {{bytes.up_to(20), k}, {strips, groups_of(k, 32 / bits), 16, 4}, {n}, {n}};
  c.first_constant = 1;
  if (bits == 8) return c;
  const int64_t block = int64_t{16} << bytes.up_to(3);
  c.info.ints["block"] = {block};
  for (int64_t i = 0; i < int64_t{1} << bits; ++i) {
    c.info.ints["values"].push_back(bytes.up_to(32) - 16);
  }
  c.shapes[2] = {strips, groups_of(k, block), 16};
  return c;
}

Case sparse_case(Bytes& bytes) {
  Case c;
  const int64_t n = 1 + bytes.up_to(50);
  const int64_t k = 1 + bytes.up_to(200);
  const Shape packed = {groups_of(n, 16), groups_of(k, 64), int64_t{1} << bytes.up_to(3), 16, 4};
  c.info.ints["shape"] = {n, k};
  c.shapes = {{bytes.up_to(20), k}, packed, packed, {n}, {n}};
  c.first_constant = 1;
  return c;
}

// Of codes with int8 weights, dense or sparse.
Case conv2d_case(bool sparse, Bytes& bytes) {
  Case c;
  const int64_t n = 1 + bytes.up_to(40);
  const int64_t channels = 1 + bytes.up_to(40);
  const Shape taps = {1 + bytes.up_to(3), 1 + bytes.up_to(3)};
  const Shape rows = {bytes.up_to(2), bytes.up_to(9)};
  c.info.ints["strides"] = {1 + bytes.up_to(2), 1 + bytes.up_to(2)};
  for (size_t i = 0; i < 4; ++i) c.info.ints["pads"].push_back(bytes.up_to(taps[i % 2] - 1));
  c.shapes = {{rows[0], rows[1], bytes.up_to(9), channels}, rows, rows};
  c.first_constant = c.shapes.size();
  const Shape weights = {n, channels, taps[0], taps[1]};
  if (sparse) {
    c.info.ints["shape"] = weights;
    const Shape packed = {taps[0],
                          groups_of(n, 16),
                          groups_of(taps[1] * channels, 64),
                          int64_t{1} << bytes.up_to(3),
                          16,
                          4};
    c.shapes.insert(c.shapes.end(), {packed, packed});
  } else {
    c.shapes.push_back(weights);
  }
  c.shapes.insert(c.shapes.end(), {{n, taps[0]}, {n}});
  return c;
}

// Of floats or of codes, with filters of one channel each.
Case depthwise_case(bool of_codes, Bytes& bytes) {
  Case c;
  const int64_t n = 1 + bytes.up_to(bytes.rarely() ? 250 : 40);
  const Shape taps = {1 + bytes.up_to(3), 1 + bytes.up_to(3)};
  const Shape rows = {bytes.up_to(2), bytes.up_to(9)};
  c.info.ints["strides"] = {1 + bytes.up_to(2), 1 + bytes.up_to(2)};
  for (size_t i = 0; i < 4; ++i) c.info.ints["pads"].push_back(bytes.up_to(taps[i % 2] - 1));
  c.shapes = {{rows[0], rows[1], bytes.up_to(9), of_codes || bytes.up_to(1) != 0 ? n : 1}};
  if (of_codes) c.shapes.insert(c.shapes.end(), {rows, rows});
  c.first_constant = c.shapes.size();
  c.shapes.insert(c.shapes.end(), {{n, 1, taps[0], taps[1]}, {n}});
  return c;
}

Case swoosh_case(Bytes& bytes) {
  Case c;
  c.info.floats = {{"shift", 4.0f}, {"slope", 0.08f}, {"offset", 0.035f}};
  c.shapes = {{bytes.up_to(3), bytes.up_to(20), bytes.up_to(300)}};
  return c;
}

// The same with slots that are not the same in every block.
Case sparse_uneven_case(Bytes& bytes) {
  Case c = sparse_case(bytes);
  const int64_t slots = 1 + bytes.up_to(4 * c.shapes[1][1]);
  c.shapes[1] = c.shapes[2] = {c.shapes[1][0], slots, 16, 4};
  c.shapes.insert(c.shapes.begin() + 3, {slots});
  return c;
}

// Some slots of each block, from any on, and columns as fill_columns makes them; rarely a block is
// spoiled, or a column.
void fill_slots(ort::Value& weights, ort::Value& columns, ort::Value& blocks, int64_t k,
                Bytes& bytes) {
  const Shape& shape = columns.info.shape;
  if (shape.size() != 4 || shape != weights.info.shape) return;
  const auto slots = static_cast<int64_t>(std::min(count_of(blocks), count_of(columns)));
  const int64_t last = groups_of(std::clamp<int64_t>(k, 1, kMostBytes), 64) - 1;
  const int64_t first = bytes.up_to(last);
  const int64_t of_block = 1 + bytes.up_to(7);
  const int64_t rows = std::max<int64_t>(1, shape[2]);
  const int64_t width = std::max<int64_t>(1, shape[3]);
  const bool windows = bytes.up_to(1) != 0;
  const int64_t step = 2 * bytes.up_to(31) + 1;
  const auto block_of = [&](int64_t slot) { return std::min(last, first + slot / of_block); };
  for (int64_t slot = 0; slot < slots; ++slot) {
    const auto block = static_cast<int32_t>(block_of(slot));
    std::memcpy(blocks.data.get() + slot * sizeof block, &block, sizeof block);
  }
  const auto count = static_cast<int64_t>(count_of(columns));
  for (int64_t at = 0; at < count; ++at) {
    const int64_t i = at % width;
    const int64_t row = at / width % rows;
    const int64_t slot = at / width / rows % std::max<int64_t>(1, shape[1]);
    const int64_t block = block_of(slot);
    const int64_t in_block = slot - (block - first) * of_block;
    const int64_t value = in_block * width + i;
    const int64_t column = windows ? in_block % 4 * 16 + (in_block / 4 * 4 + i + row) % 16
                                   : (value * step + row * 5) % 64;
    columns.data[at] = static_cast<unsigned char>(column);
    if (block * 64 + column >= k) weights.data[at] = 0;
  }
  if (bytes.rarely() && slots > 0) blocks.data[bytes.next() % (slots * 4)] = bytes.next();
  if (bytes.rarely() && count > 0) columns.data[bytes.next() % count] = bytes.next();
}

Case sparse_float_case(Bytes& bytes) {
  Case c;
  const int64_t n = 1 + bytes.up_to(80);
  const int64_t k = 1 + bytes.up_to(150);
  const Shape packed = {groups_of(k, 64), n, 1 + bytes.up_to(bytes.rarely() ? 63 : 15)};
  c.info.ints["shape"] = {n, k};
  c.shapes = {{bytes.up_to(70), k}, packed, packed, {n}};
  c.first_constant = 1;
  return c;
}

// Columns that are all different in a row's block of 64; rarely one is spoiled. Weights beyond the
// last column are zero.
void fill_float_columns(ort::Value& weights, ort::Value& columns, int64_t k, Bytes& bytes) {
  const Shape& shape = columns.info.shape;
  if (shape.size() != 3 || shape != weights.info.shape) return;
  const size_t step = 2 * static_cast<size_t>(bytes.up_to(31)) + 1;
  const size_t count = count_of(columns);
  const auto kept = static_cast<size_t>(std::max<int64_t>(1, shape[2]));
  const auto rows = static_cast<size_t>(std::max<int64_t>(1, shape[1]));
  for (size_t at = 0; at < count; ++at) {
    const size_t column = (at % kept * step + at / kept % rows) % 64;
    columns.data[at] = static_cast<unsigned char>(column);
    if (static_cast<int64_t>(at / kept / rows * 64 + column) >= k) {
      const size_t bytes_of_weight = bytes_of(weights.info.type);
      std::memset(weights.data.get() + at * bytes_of_weight, 0, bytes_of_weight);
    }
  }
  if (bytes.rarely() && count > 0) columns.data[bytes.next() % count] = bytes.next();
}

// Columns that are all different in a row's block of 64: in the slots' own windows of 16 (patterns
// that kernels look for), or anywhere; rarely one is spoiled. Weights beyond the last column are
// zero.
void fill_columns(ort::Value& weights, ort::Value& columns, int64_t k, Bytes& bytes) {
  const Shape& shape = columns.info.shape;
  if (shape.size() < 5 || shape != weights.info.shape) return;
  const auto size_of = [&](size_t from_last) {
    return static_cast<size_t>(std::max<int64_t>(1, shape[shape.size() - from_last]));
  };
  const size_t blocks = size_of(4);
  const size_t slots = size_of(3);
  const size_t rows = size_of(2);
  const size_t width = size_of(1);
  const bool windows = bytes.up_to(1) != 0;
  const size_t step = 2 * static_cast<size_t>(bytes.up_to(31)) + 1;
  const size_t count = count_of(columns);
  for (size_t at = 0; at < count; ++at) {
    const size_t i = at % width;
    const size_t row = at / width % rows;
    const size_t slot = at / width / rows % slots;
    const size_t block = at / width / rows / slots % blocks;
    const size_t value = slot * width + i;
    const size_t window = slot * 4 / slots + (slots == 2 ? i / 2 : 0);
    const size_t column = windows && slots <= 8 && width == 4
                              ? 16 * window + (slots == 8 ? slot % 2 * 4 : row % 12) + i
                              : (value * step + row * 5) % 64;
    columns.data[at] = static_cast<unsigned char>(column);
    if (static_cast<int64_t>(block * 64 + column) >= k) weights.data[at] = 0;
  }
  if (bytes.rarely() && count > 0) columns.data[bytes.next() % count] = bytes.next();
}

Case conv_case(Bytes& bytes) {
  Case c;
  const int64_t channels = 1 + bytes.up_to(40);
  const int64_t batches = bytes.up_to(3);
  const int64_t frames = bytes.up_to(40);
  c.info.ints["pads"] = {bytes.up_to(9), bytes.up_to(9)};
  c.info.ints["columns"] = {bytes.up_to(3), channels};
  c.shapes = {{batches, frames, 2 * channels + 3},
              {channels, 1, 1 + bytes.up_to(31)},
              {channels},
              {1, 1, bytes.rarely() ? 1 : frames}};
  c.first_constant = 1;
  return c;
}

Case attention_case(const ort::CustomOp* op, Bytes& bytes) {
  Case c;
  const int64_t heads = 1 + bytes.up_to(3);
  const int64_t size = 1 + bytes.up_to(40);
  const int64_t batches = bytes.up_to(2);
  const int64_t queries = bytes.up_to(40);
  const int64_t keys = 1 + bytes.up_to(40);
  const int64_t width = heads * size + bytes.up_to(4);
  c.info.ints["shape"] = {heads, size};
  c.info.ints["columns"] = {0, 0, 0, 0};
  c.info.floats = {{"scale", 0.1f}, {"uniform", static_cast<float>(bytes.up_to(1))}};
  c.shapes = {{batches, queries, width},
              {batches, keys, width},
              {batches, keys, width},
              {1, queries + keys - 1, width},
              {heads, size},
              {heads, size},
              {batches, 1, bytes.rarely() ? 1 : queries, keys}};
  if (op->GetInputTypeCount(op) < c.shapes.size()) {  // without positions
    c.info.ints["columns"].pop_back();
    c.shapes.erase(c.shapes.begin() + 3, c.shapes.end() - 1);
  }
  if (op->GetInputTypeCount(op) > c.shapes.size()) {  // with a bias
    c.shapes.insert(c.shapes.end() - 1, Shape{bytes.rarely() ? 1 : batches, heads, queries, keys});
  }
  return c;
}

Case norm_case(const ort::CustomOp* op, Bytes& bytes) {
  Case c;
  const int64_t width = bytes.up_to(70);
  const Shape stream = {bytes.up_to(3), bytes.up_to(20), width};
  c.info.floats = {{"scale", 0.5f}, {"epsilon", 1e-5f}, {"epsilon2", 1e-5f}};
  c.shapes.assign(op->GetInputTypeCount(op), {width});
  c.shapes[0] = c.shapes[1] = stream;
  return c;
}

void spoil(Case& c, Bytes& bytes) {
  for (auto& [name, values] : c.info.ints) {
    if (bytes.rarely()) values[bytes.next() % values.size()] = bytes.hostile();
    if (bytes.rarely()) values.resize(values.size() + 1, bytes.hostile());
    if (bytes.rarely()) values.pop_back();
  }
  for (Shape& shape : c.shapes) {
    if (bytes.rarely() && !shape.empty()) {
      shape[bytes.next() % shape.size()] = std::max<int64_t>(0, bytes.hostile());
    }
    if (bytes.rarely()) shape.push_back(1 + bytes.up_to(1));
    if (bytes.rarely() && !shape.empty()) shape.pop_back();
  }
}

void fill(ort::Value& value, Bytes& bytes) {
  const size_t count = count_of(value);
  const uint8_t seed = bytes.next();
  const size_t bytes_of_number = bytes_of(value.info.type);
  const bool is_float = value.info.type == ort::kFloat || value.info.type == ort::kBFloat16;
  for (size_t i = 0; i < count; ++i) {
    const auto number = static_cast<uint8_t>((i + seed) * 37);
    if (is_float) {
      const float x = static_cast<float>(static_cast<int8_t>(number));
      // A bfloat16 is a float's upper bytes.
      const auto* upper = reinterpret_cast<const unsigned char*>(&x) + sizeof x - bytes_of_number;
      std::memcpy(value.data.get() + i * bytes_of_number, upper, bytes_of_number);
    } else {
      value.data[i] = value.info.type == ort::kBool ? number & 1 : number;
    }
  }
  if (is_float && count > 0 && bytes.rarely()) {
    std::memset(value.data.get(), 0xff, bytes_of_number);  // NaN
  }
}

// The type of an input: where any is taken, mostly one that is right.
ort::ElementType type_of(ort::ElementType asked, Bytes& bytes) {
  if (asked != ort::kAny) return asked;
  return bytes.rarely() ? ort::kInt8 : bytes.up_to(1) != 0 ? ort::kBFloat16 : ort::kFloat;
}

struct Outcome {
  size_t refused = 0;
  size_t computed = 0;
  std::FILE* outputs = nullptr;
};

// Codes are left out: a sum in another order may fall on the other side of the middle of two.
void write(const ort::Value& value, std::FILE* file) {
  if (file == nullptr || value.info.type != ort::kFloat) return;
  const auto count = static_cast<float>(count_of(value));
  std::fwrite(&count, sizeof count, 1, file);
  std::fwrite(value.data.get(), sizeof(float), count_of(value), file);
}

bool refused(ort::Status* status, Outcome& outcome) {
  if (status == nullptr) return false;
  if (status->message.empty() || status->message.back() != '.') {
    std::fprintf(stderr, "no sentence: '%s'\n", status->message.c_str());
    std::abort();
  }
  delete status;
  ++outcome.refused;
  return true;
}

void run_case(Bytes bytes, Outcome& outcome) {
  const auto& list = operators();
  const ort::CustomOp* op = list[bytes.next() % list.size()];
  const std::string name = op->GetName(op);
  const bool linear = name.rfind("QuantLinear", 0) == 0;
  const bool norm = name.find("Norm") != name.npos;
  const bool sparse_float = name.rfind("SparseLinearFloat", 0) == 0;
  const bool uneven = name.rfind("SparseLinearUneven", 0) == 0;
  const bool sparse = !sparse_float && !uneven && name.rfind("SparseLinear", 0) == 0;
  const bool attention = name.find("Attention") != name.npos;
  const bool sparse_conv = name.rfind("SparseConv2d", 0) == 0;
  const bool conv2d = sparse_conv || name.rfind("QuantConv2d", 0) == 0;
  const bool depthwise = name.find("DepthwiseConv2d") != name.npos;
  const bool module = name.rfind("ConvModule", 0) == 0;
  Case c = linear         ? linear_case(name, bytes)
           : sparse       ? sparse_case(bytes)
           : uneven       ? sparse_uneven_case(bytes)
           : sparse_float ? sparse_float_case(bytes)
           : norm         ? norm_case(op, bytes)
           : conv2d       ? conv2d_case(sparse_conv, bytes)
           : depthwise    ? depthwise_case(name[0] == 'U', bytes)
           : module       ? conv_case(bytes)
           : attention    ? attention_case(op, bytes)
                          : swoosh_case(bytes);
  if (bytes.next() < 160) spoil(c, bytes);
  std::vector<ValuePtr> values;
  for (size_t i = 0; i < c.shapes.size(); ++i) {
    values.push_back(make_value(type_of(op->GetInputType(op, i), bytes), c.shapes[i]));
    if (values.back() == nullptr) return;  // no runtime could hold it
    fill(*values.back(), bytes);
    const bool constant = i >= c.first_constant && (!module || i < 3);
    c.info.constants.push_back(constant ? values.back().get() : nullptr);
  }
  if (sparse_float) fill_float_columns(*values[1], *values[2], c.info.columns(), bytes);
  if (sparse) fill_columns(*values[1], *values[2], c.info.columns(), bytes);
  if (sparse_conv) fill_columns(*values[3], *values[4], c.info.columns(), bytes);
  if (uneven) fill_slots(*values[1], *values[2], *values[3], c.info.columns(), bytes);
  void* kernel = nullptr;
  if (refused(op->CreateKernelV2(op, &api(), &c.info, &kernel), outcome)) return;
  ort::KernelContext context{op, {}, {}};
  for (const ValuePtr& value : values) context.inputs.push_back(value.get());
  if (!refused(op->KernelComputeV2(kernel, &context), outcome)) {
    ++outcome.computed;
    for (const ValuePtr& value : context.outputs) write(*value, outcome.outputs);
  }
  op->KernelDestroy(kernel);
}

}  // namespace

#if defined(CONFPRESS_LIBFUZZER)
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Outcome outcome;
  run_case(Bytes(data, size), outcome);
  return 0;
}
#else
int main(int count, char** arguments) {
  const long cases = count > 1 ? std::atol(arguments[1]) : 1000;
  uint64_t state = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 0;
  Outcome outcome;
  if (count > 3) outcome.outputs = std::fopen(arguments[3], "wb");
  for (long i = 0; i < cases; ++i) {
    uint8_t bytes[256];
    for (uint8_t& byte : bytes) {  // splitmix64
      uint64_t z = state += 0x9e3779b97f4a7c15u;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      byte = static_cast<uint8_t>(z >> 33);
    }
    run_case(Bytes(bytes, sizeof bytes), outcome);
  }
  if (outcome.outputs != nullptr) std::fclose(outcome.outputs);
  std::printf("%zu refused, %zu computed\n", outcome.refused, outcome.computed);
  return 0;
}
#endif

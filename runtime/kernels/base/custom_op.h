// From a C++ class to an operator of ONNX Runtime.
//
// A kernel is a class with
//   static constexpr const char* kName;                 the operator's name in domain confpress.v1
//   static constexpr ort::ElementType kInputs[];        the element type of every input
//   static constexpr ort::ElementType kOutputs[];       of every output; one of floats where left
//   out static constexpr const char* kProvider;             where it runs; the CPU where left out
//   explicit Kernel(const KernelInfo&);                 checks and prepares its weights
//   void compute(KernelContext&) const;                 runs; const, for many threads run at once
// and one line `const OperatorEntry entry{operator_of<Kernel>()};` in its source file makes the
// library register it. Both members throw Error, which ONNX Runtime reports as its own; nothing
// else crosses the C boundary either.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/ort_api.h"

namespace confpress {

// Domain of all operators; the version is that of the packed layouts.
constexpr char kDomain[] = "confpress.v1";

// What a person reads when a model or an input cannot be used: one sentence.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws where a function of ONNX Runtime failed, after freeing its status.
inline void check(const ort::Api& api, ort::Status* status, const char* what) {
  if (status == nullptr) return;
  api.ReleaseStatus(status);
  throw Error(std::string("ONNX Runtime could not ") + what + ".");
}

// Runs a function and turns whatever it throws into a status; null is success.
template <class Function>
ort::Status* guarded(const ort::Api& api, Function&& function) noexcept {
  try {
    function();
    return nullptr;
  } catch (const Error& error) {
    return api.CreateStatus(ort::kInvalidArgument, error.what());
  } catch (const std::bad_alloc&) {
    return api.CreateStatus(ort::kFail, "The kernel could not get the memory it needs.");
  } catch (...) {
    return api.CreateStatus(ort::kFail, "The kernel failed for an unknown reason.");
  }
}

// A tensor of the runtime; valid as long as the runtime keeps it.
struct Tensor {
  ort::ElementType type;
  std::vector<int64_t> shape;
  void* data;

  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

Tensor tensor_of(const ort::Api& api, const ort::Value* value);

// "[2, 3]"
std::string text_of(const std::vector<int64_t>& shape);

// What a kernel sees when it is created.
class KernelInfo {
 public:
  KernelInfo(const ort::Api& api, const ort::KernelInfo* info) : api_(api), info_(info) {}

  const ort::Api& api() const { return api_; }
  std::vector<int64_t> ints(const char* attribute) const;
  float number(const char* attribute) const;
  // An input that must be an initializer; `name` is for the message.
  Tensor constant(size_t index, const char* name) const;

 private:
  const ort::Api& api_;
  const ort::KernelInfo* info_;
};

// What a kernel sees when it runs.
class KernelContext {
 public:
  KernelContext(const ort::Api& api, ort::KernelContext* context) : api_(api), context_(context) {}

  Tensor input(size_t index) const;
  // Memory of an output, whose element type is T.
  template <class T = float>
  T* output(size_t index, const std::vector<int64_t>& shape) const {
    return static_cast<T*>(output_data(index, shape));
  }

  // The CUDA stream of this run.
  void* stream() const;

  // Memory of the session's arena, aligned to 64 bytes, freed with the object.
  class Scratch {
   public:
    Scratch(const KernelContext& context, size_t bytes);
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    std::byte* data() const { return aligned_; }

   private:
    const ort::Api& api_;
    ort::Allocator* allocator_ = nullptr;
    void* block_ = nullptr;
    std::byte* aligned_ = nullptr;
  };

  // Calls task(0), ..., task(count - 1) on the session's threads; the task must not throw.
  template <class Task>
  void parallel_for(size_t count, const Task& task) const {
    static_assert(noexcept(task(size_t{0})), "a task must be noexcept");
    if (count == 0) return;
    const auto call = [](void* data, size_t index) { (*static_cast<const Task*>(data))(index); };
    void* data = const_cast<void*>(static_cast<const void*>(&task));
    check(api_, api_.KernelContext_ParallelFor(context_, call, count, 0, data),
          "start its threads");
  }

 private:
  void* output_data(size_t index, const std::vector<int64_t>& shape) const;

  const ort::Api& api_;
  ort::KernelContext* context_;
};

// The element types of a kernel's outputs.
template <class Kernel, class = void>
struct OutputsOf {
  static constexpr ort::ElementType kTypes[] = {ort::kFloat};
};
template <class Kernel>
struct OutputsOf<Kernel, std::void_t<decltype(Kernel::kOutputs)>> {
  static constexpr const auto& kTypes = Kernel::kOutputs;
};

// The execution provider of a kernel.
template <class Kernel, class = void>
struct ProviderOf {
  static constexpr const char* kName = "CPUExecutionProvider";
};
template <class Kernel>
struct ProviderOf<Kernel, std::void_t<decltype(Kernel::kProvider)>> {
  static constexpr const char* kName = Kernel::kProvider;
};

// The description that ONNX Runtime reads of a kernel class.
template <class Kernel>
ort::CustomOp operator_of() {
  struct Instance {
    Instance(const ort::Api& a, const ort::KernelInfo* info)
        : api(a), kernel(KernelInfo(a, info)) {}
    const ort::Api& api;
    const Kernel kernel;
  };
  using Op = const ort::CustomOp*;
  ort::CustomOp op{};
  op.version = ort::kApiVersion;
  op.GetName = [](Op) { return Kernel::kName; };
  op.GetExecutionProviderType = [](Op) { return ProviderOf<Kernel>::kName; };
  op.GetInputTypeCount = [](Op) { return std::size(Kernel::kInputs); };
  op.GetInputType = [](Op, size_t index) { return Kernel::kInputs[index]; };
  op.GetOutputTypeCount = [](Op) { return std::size(OutputsOf<Kernel>::kTypes); };
  op.GetOutputType = [](Op, size_t index) { return OutputsOf<Kernel>::kTypes[index]; };
  op.GetInputCharacteristic = [](Op, size_t) { return ort::kRequired; };
  op.GetOutputCharacteristic = [](Op, size_t) { return ort::kRequired; };
  op.GetInputMemoryType = [](Op, size_t) { return ort::kMemoryDefault; };
  op.GetVariadicInputMinArity = [](Op) { return 0; };
  op.GetVariadicInputHomogeneity = [](Op) { return 0; };
  op.GetVariadicOutputMinArity = [](Op) { return 0; };
  op.GetVariadicOutputHomogeneity = [](Op) { return 0; };
  op.GetStartVersion = [](Op) { return 1; };
  op.GetEndVersion = [](Op) { return 1; };
  op.CreateKernelV2 = [](Op, const ort::Api* api, const ort::KernelInfo* info, void** out) {
    return guarded(*api, [&] { *out = new Instance(*api, info); });
  };
  op.KernelComputeV2 = [](void* data, ort::KernelContext* raw) {
    const Instance& instance = *static_cast<const Instance*>(data);
    return guarded(instance.api, [&] {
      KernelContext context(instance.api, raw);
      instance.kernel.compute(context);
    });
  };
  op.KernelDestroy = [](void* data) { delete static_cast<Instance*>(data); };
  return op;
}

// An operator of the library; all entries form a list before `main` runs.
class OperatorEntry {
 public:
  explicit OperatorEntry(const ort::CustomOp& description) : op(description), next(first()) {
    first() = this;
  }
  static const OperatorEntry*& first() {
    static const OperatorEntry* entry = nullptr;
    return entry;
  }

  const ort::CustomOp op;
  const OperatorEntry* const next;
};

}  // namespace confpress

// The part of ONNX Runtime's C API that the kernels use, declared by hand.
//
// OrtApi is a table of function pointers that only grows at its end, so a member's place never
// changes, and asking for version 17 makes the library load in every runtime from that version on.
// The places below are checked at compile time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace confpress::ort {

constexpr uint32_t kApiVersion = 17;

struct Status;
struct SessionOptions;
struct CustomOpDomain;
struct KernelInfo;
struct KernelContext;
struct Value;
struct TensorTypeAndShapeInfo;
struct MemoryInfo;

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2 };
// An input of type kAny may have any.
enum ElementType : int {
  kAny = 0,
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kInt32 = 6,
  kInt64 = 7,
  kBool = 9,
  kFloat16 = 10,
  kBFloat16 = 16
};
enum MemoryType : int { kMemoryDefault = 0 };
enum AllocatorType : int { kDeviceAllocator = 0, kArenaAllocator = 1 };
enum Characteristic : int { kRequired = 0 };

// Alloc throws what the runtime's own C++ library throws; Api::AllocatorAlloc gives a status.
struct Allocator {
  uint32_t version;
  void* (*Alloc)(Allocator*, size_t bytes);
  void (*Free)(Allocator*, void*);
  const MemoryInfo* (*Info)(const Allocator*);
};

struct CustomOp;

// `gap` members stand for functions that are not used.
struct Api {
  Status* (*CreateStatus)(ErrorCode, const char* message);
  void* gap1[25];
  Status* (*CreateCustomOpDomain)(const char* domain, CustomOpDomain** out);
  Status* (*CustomOpDomain_Add)(CustomOpDomain*, const CustomOp*);
  Status* (*AddCustomOpDomain)(SessionOptions*, CustomOpDomain*);
  void* gap29[22];
  Status* (*GetTensorMutableData)(Value*, void** out);
  void* gap52[8];
  Status* (*GetTensorElementType)(const TensorTypeAndShapeInfo*, ElementType* out);
  Status* (*GetDimensionsCount)(const TensorTypeAndShapeInfo*, size_t* out);
  Status* (*GetDimensions)(const TensorTypeAndShapeInfo*, int64_t* dimensions, size_t count);
  void* gap63[2];
  Status* (*GetTensorTypeAndShape)(const Value*, TensorTypeAndShapeInfo** out);
  void* gap66[3];
  Status* (*CreateCpuMemoryInfo)(AllocatorType, MemoryType, MemoryInfo** out);
  void* gap70[5];
  Status* (*AllocatorAlloc)(Allocator*, size_t bytes, void** out);
  void* gap76[9];
  Status* (*KernelInfoGetAttribute_float)(const KernelInfo*, const char* name, float* out);
  void* gap86[4];
  Status* (*KernelContext_GetInput)(const KernelContext*, size_t index, const Value** out);
  Status* (*KernelContext_GetOutput)(KernelContext*, size_t index, const int64_t* dimensions,
                                     size_t count, Value** out);
  void* gap92[1];
  void (*ReleaseStatus)(Status*);
  void (*ReleaseMemoryInfo)(MemoryInfo*);
  void* gap95[4];
  void (*ReleaseTensorTypeAndShapeInfo)(TensorTypeAndShapeInfo*);
  void* gap100[1];
  void (*ReleaseCustomOpDomain)(CustomOpDomain*);
  void* gap102[30];
  void (*ReleaseAllocator)(Allocator*);
  void* gap133[30];
  Status* (*KernelInfoGetAttributeArray_int64)(const KernelInfo*, const char* name, int64_t* out,
                                               size_t* size);
  void* gap164[29];
  Status* (*KernelContext_GetGPUComputeStream)(const KernelContext*, void** out);
  void* gap194[55];
  Status* (*KernelInfoGetConstantInput_tensor)(const KernelInfo*, size_t index, int* is_constant,
                                               const Value** out);
  void* gap250[3];
  Status* (*KernelContext_GetAllocator)(const KernelContext*, const MemoryInfo*, Allocator** out);
  void* gap254[20];
  Status* (*KernelContext_ParallelFor)(const KernelContext*, void (*task)(void*, size_t),
                                       size_t total, size_t batches, void* user_data);
};

#define CONFPRESS_PLACE(member, place) \
  static_assert(offsetof(Api, member) == (place) * sizeof(void*), "not at its place: " #member)
CONFPRESS_PLACE(CreateStatus, 0);
CONFPRESS_PLACE(CreateCustomOpDomain, 26);
CONFPRESS_PLACE(CustomOpDomain_Add, 27);
CONFPRESS_PLACE(AddCustomOpDomain, 28);
CONFPRESS_PLACE(GetTensorMutableData, 51);
CONFPRESS_PLACE(GetTensorElementType, 60);
CONFPRESS_PLACE(GetDimensionsCount, 61);
CONFPRESS_PLACE(GetDimensions, 62);
CONFPRESS_PLACE(GetTensorTypeAndShape, 65);
CONFPRESS_PLACE(CreateCpuMemoryInfo, 69);
CONFPRESS_PLACE(AllocatorAlloc, 75);
CONFPRESS_PLACE(KernelInfoGetAttribute_float, 85);
CONFPRESS_PLACE(KernelContext_GetInput, 90);
CONFPRESS_PLACE(KernelContext_GetOutput, 91);
CONFPRESS_PLACE(ReleaseStatus, 93);
CONFPRESS_PLACE(ReleaseMemoryInfo, 94);
CONFPRESS_PLACE(ReleaseTensorTypeAndShapeInfo, 99);
CONFPRESS_PLACE(ReleaseCustomOpDomain, 101);
CONFPRESS_PLACE(ReleaseAllocator, 132);
CONFPRESS_PLACE(KernelInfoGetAttributeArray_int64, 163);
CONFPRESS_PLACE(KernelContext_GetGPUComputeStream, 193);
CONFPRESS_PLACE(KernelInfoGetConstantInput_tensor, 249);
CONFPRESS_PLACE(KernelContext_GetAllocator, 253);
CONFPRESS_PLACE(KernelContext_ParallelFor, 274);
#undef CONFPRESS_PLACE

struct ApiBase {
  const Api* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

// OrtCustomOp. A runtime reads the members after GetEndVersion only where `version` says that they
// are there (18 and later).
struct CustomOp {
  uint32_t version;
  void* (*CreateKernel)(const CustomOp*, const Api*, const KernelInfo*);
  const char* (*GetName)(const CustomOp*);
  const char* (*GetExecutionProviderType)(const CustomOp*);
  ElementType (*GetInputType)(const CustomOp*, size_t index);
  size_t (*GetInputTypeCount)(const CustomOp*);
  ElementType (*GetOutputType)(const CustomOp*, size_t index);
  size_t (*GetOutputTypeCount)(const CustomOp*);
  void (*KernelCompute)(void* kernel, KernelContext*);
  void (*KernelDestroy)(void* kernel);
  Characteristic (*GetInputCharacteristic)(const CustomOp*, size_t index);
  Characteristic (*GetOutputCharacteristic)(const CustomOp*, size_t index);
  MemoryType (*GetInputMemoryType)(const CustomOp*, size_t index);
  int (*GetVariadicInputMinArity)(const CustomOp*);
  int (*GetVariadicInputHomogeneity)(const CustomOp*);
  int (*GetVariadicOutputMinArity)(const CustomOp*);
  int (*GetVariadicOutputHomogeneity)(const CustomOp*);
  Status* (*CreateKernelV2)(const CustomOp*, const Api*, const KernelInfo*, void** kernel);
  Status* (*KernelComputeV2)(void* kernel, KernelContext*);
  Status* (*InferOutputShapeFn)(const CustomOp*, void* context);
  int (*GetStartVersion)(const CustomOp*);
  int (*GetEndVersion)(const CustomOp*);
  void* later[4];
};
static_assert(sizeof(CustomOp) == 26 * sizeof(void*), "OrtCustomOp has 26 words");

}  // namespace confpress::ort

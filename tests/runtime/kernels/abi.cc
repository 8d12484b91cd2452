// Our declarations of ONNX Runtime's C API against the official header: compiles where they agree.
#include <onnxruntime_c_api.h>

#include "base/ort_api.h"

namespace {

using namespace confpress;

#define SAME_PLACE(ours, theirs, member) \
  static_assert(offsetof(ours, member) == offsetof(theirs, member), #member)

#define API(member) SAME_PLACE(ort::Api, OrtApi, member)
API(CreateStatus);
API(CreateCustomOpDomain);
API(CustomOpDomain_Add);
API(AddCustomOpDomain);
API(GetTensorMutableData);
API(GetTensorElementType);
API(GetDimensionsCount);
API(GetDimensions);
API(GetTensorTypeAndShape);
API(CreateCpuMemoryInfo);
API(AllocatorAlloc);
API(KernelInfoGetAttribute_float);
API(KernelContext_GetInput);
API(KernelContext_GetOutput);
API(ReleaseStatus);
API(ReleaseMemoryInfo);
API(ReleaseTensorTypeAndShapeInfo);
API(ReleaseCustomOpDomain);
API(ReleaseAllocator);
API(KernelInfoGetAttributeArray_int64);
API(KernelContext_GetGPUComputeStream);
API(KernelInfoGetConstantInput_tensor);
API(KernelContext_GetAllocator);
API(KernelContext_ParallelFor);

#define BASE(member) SAME_PLACE(ort::ApiBase, OrtApiBase, member)
BASE(GetApi);
BASE(GetVersionString);

#define ALLOCATOR(member) SAME_PLACE(ort::Allocator, OrtAllocator, member)
ALLOCATOR(version);
ALLOCATOR(Alloc);
ALLOCATOR(Free);
ALLOCATOR(Info);

#define OP(member) SAME_PLACE(ort::CustomOp, OrtCustomOp, member)
OP(version);
OP(CreateKernel);
OP(GetName);
OP(GetExecutionProviderType);
OP(GetInputType);
OP(GetInputTypeCount);
OP(GetOutputType);
OP(GetOutputTypeCount);
OP(KernelCompute);
OP(KernelDestroy);
OP(GetInputCharacteristic);
OP(GetOutputCharacteristic);
OP(GetInputMemoryType);
OP(GetVariadicInputMinArity);
OP(GetVariadicInputHomogeneity);
OP(GetVariadicOutputMinArity);
OP(GetVariadicOutputHomogeneity);
OP(CreateKernelV2);
OP(KernelComputeV2);
OP(InferOutputShapeFn);
OP(GetStartVersion);
OP(GetEndVersion);

static_assert(+ort::kFail == ORT_FAIL && +ort::kInvalidArgument == ORT_INVALID_ARGUMENT);
static_assert(+ort::kAny == ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED);
static_assert(+ort::kFloat == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
static_assert(+ort::kUint8 == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
static_assert(+ort::kInt8 == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8);
static_assert(+ort::kInt32 == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32);
static_assert(+ort::kInt64 == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
static_assert(+ort::kBool == ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL);
static_assert(+ort::kFloat16 == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);
static_assert(+ort::kBFloat16 == ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16);
static_assert(+ort::kMemoryDefault == OrtMemTypeDefault);
static_assert(+ort::kDeviceAllocator == OrtDeviceAllocator);
static_assert(+ort::kArenaAllocator == OrtArenaAllocator);
static_assert(+ort::kRequired == INPUT_OUTPUT_REQUIRED);
static_assert(ort::kApiVersion <= ORT_API_VERSION);

}  // namespace

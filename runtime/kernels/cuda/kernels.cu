// The products as CUDA kernels. One file: the compiler takes longer over CUDA's headers, once for
// every architecture, than over the kernels.
#include "cuda/device_mma_threads.h"
#include "cuda/launch.h"

namespace confpress::cuda {
namespace {

template <class Kind>
struct DeviceThreads {
  typename ProductBlock<Kind>::Registers registers;

  template <class Phase>
  __device__ __forceinline__ void each(const Phase& phase) {
    phase(static_cast<int>(threadIdx.x), registers);
    __syncthreads();
  }
};

template <class Kind>
__global__ void __launch_bounds__(kThreads)
    product(const __grid_constant__ typename Kind::Problem problem,
            const __grid_constant__ Plan plan) {
  __shared__ SharedMemory<Kind> shared;
  DeviceThreads<Kind> threads;
  ProductBlock<Kind>(problem, plan, shared, blockIdx.x).run(threads);
}

template <class Tile>
__global__ void __launch_bounds__(kMmaThreads)
    sparse_mma(const __grid_constant__ SparseMmaProblem problem) {
#if __CUDA_ARCH__ >= 800
  using Block = SparseMmaBlock<Tile>;
  __shared__ typename Block::Shared shared;
  DeviceMmaThreads<typename Block::Registers> threads;
  Block(problem, shared, blockIdx.x).run(threads);
#endif
}

// CUDA remembers a thread's last error until it is asked for it, as the check behind a launch does:
// what is told here must not be told again of a launch that succeeded.
const char* text_of(cudaError_t error) {
  if (error == cudaSuccess) return nullptr;
  cudaGetLastError();
  return cudaGetErrorString(error);
}

cudaError_t attribute(cudaDeviceAttr name, int& value) {
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  return error == cudaSuccess ? cudaDeviceGetAttribute(&value, name, device) : error;
}

constexpr const char* kTooMany = "there are more frames than a grid of thread blocks holds";

template <class Tile>
const char* launch_tiles(const SparseMmaProblem& problem, cudaStream_t stream) {
  const int64_t blocks = SparseMmaBlock<Tile>::count(problem.shape);
  if (blocks > INT32_MAX) return kTooMany;
  sparse_mma<Tile><<<static_cast<unsigned>(blocks), kMmaThreads, 0, stream>>>(problem);
  return text_of(cudaGetLastError());
}

}  // namespace

template <class Kind>
const char* launch(const typename Kind::Problem& problem, void* stream) {
  // Two blocks for every multiprocessor, where there are rows enough.
  constexpr int kBlocks = 2;
  int multiprocessors = 0;
  const cudaError_t error = attribute(cudaDevAttrMultiProcessorCount, multiprocessors);
  if (error != cudaSuccess) return text_of(error);
  const Plan plan =
      plan_of<Kind>(problem.shape.frames, problem.shape.rows, kBlocks * multiprocessors);
  const int64_t blocks = ProductBlock<Kind>::count(problem.shape, plan);
  if (blocks > INT32_MAX) return kTooMany;
  product<Kind><<<static_cast<unsigned>(blocks), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      problem, plan);
  return text_of(cudaGetLastError());
}

using SparseWidened = SparseFloat<float, BFloat16>;
template const char* launch<SparseWidened>(const SparseWidened::Problem&, void*);
template const char* launch<SparseFloat<float>>(const SparseFloat<float>::Problem&, void*);
template const char* launch<SparseFloat<Half>>(const SparseFloat<Half>::Problem&, void*);
template const char* launch<SparseInt8>(const SparseInt8::Problem&, void*);
template const char* launch<DenseInt8>(const DenseInt8::Problem&, void*);

const char* launch(const SparseMmaProblem& problem, void* stream) {
  int multiprocessors = 0;
  const cudaError_t error = attribute(cudaDevAttrMultiProcessorCount, multiprocessors);
  if (error != cudaSuccess) return text_of(error);
  const auto on = static_cast<cudaStream_t>(stream);
  return wide_tiles(problem.shape, multiprocessors) ? launch_tiles<WideTile>(problem, on)
                                                    : launch_tiles<NarrowTile>(problem, on);
}

bool has_sparse_tensor_cores() {
  int major = 0;
  cudaFuncAttributes code;
  return attribute(cudaDevAttrComputeCapabilityMajor, major) == cudaSuccess && major >= 8 &&
         cudaFuncGetAttributes(&code, sparse_mma<WideTile>) == cudaSuccess && code.ptxVersion >= 80;
}

bool has_gpu() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

const char* copy_to_host(void* to, const void* from, size_t bytes) {
  return text_of(cudaMemcpy(to, from, bytes, cudaMemcpyDefault));
}

const char* copy_to_gpu(void** to, const void* from, size_t bytes) {
  cudaError_t error = cudaMalloc(to, bytes);
  if (error != cudaSuccess) return text_of(error);
  error = cudaMemcpy(*to, from, bytes, cudaMemcpyHostToDevice);
  // Streams that do not wait for this one start only then.
  if (error == cudaSuccess) error = cudaDeviceSynchronize();
  if (error != cudaSuccess) cudaFree(*to);
  return text_of(error);
}

void free_on_gpu(void* memory) { cudaFree(memory); }

}  // namespace confpress::cuda

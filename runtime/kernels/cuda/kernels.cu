// The products as CUDA kernels. One file: the compiler takes longer over CUDA's headers, once for
// every architecture, than over the kernels.
#include "launch.h"

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

const char* text_of(cudaError_t error) {
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

template <class Kind>
const char* launch(const typename Kind::Problem& problem, void* stream) {
  // Two blocks for every multiprocessor, where there are rows enough.
  constexpr int kBlocks = 2;
  int device = 0;
  int multiprocessors = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  }
  if (error != cudaSuccess) return text_of(error);
  const Plan plan =
      plan_of<Kind>(problem.shape.frames, problem.shape.rows, kBlocks * multiprocessors);
  const int64_t blocks = ProductBlock<Kind>::count(problem.shape, plan);
  if (blocks > INT32_MAX) return "there are more frames than a grid of thread blocks holds";
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

bool has_gpu() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

const char* copy_to_host(void* to, const void* from, size_t bytes) {
  return text_of(cudaMemcpy(to, from, bytes, cudaMemcpyDefault));
}

}  // namespace confpress::cuda

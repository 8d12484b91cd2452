// Functions that both a processor and a GPU run.
#pragma once

#if defined(__CUDACC__)
#define CONFPRESS_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define CONFPRESS_HOST_DEVICE inline
#endif

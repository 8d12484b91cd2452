// What the operators, compiled as plain C++, ask of CUDA.
#pragma once

#include <cstddef>

#include "cuda/dense_int8.h"
#include "cuda/sparse_float.h"
#include "cuda/sparse_int8.h"
#include "cuda/sparse_mma_block.h"

namespace confpress::cuda {

// Starts the product on a CUDA stream. Asks for no memory and waits for nothing, so that it may be
// captured in a CUDA graph. Null, or what CUDA says against it.
template <class Kind>
const char* launch(const typename Kind::Problem& problem, void* stream);

const char* launch(const SparseMmaProblem& problem, void* stream);

// Whether the GPU has sparse tensor cores, and the library code for them.
bool has_sparse_tensor_cores();

// Whether there is a GPU that CUDA can use.
bool has_gpu();

// Copies from the GPU's memory or a processor's, and waits. Null, or what CUDA says against it.
const char* copy_to_host(void* to, const void* from, size_t bytes);

// Gets memory of the GPU with these values, for whatever runs later. Null, or what CUDA says
// against it.
const char* copy_to_gpu(void** to, const void* from, size_t bytes);
void free_on_gpu(void* memory);

}  // namespace confpress::cuda

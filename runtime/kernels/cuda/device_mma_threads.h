// What SparseMmaBlock asks of its threads, on a GPU with compute capability 8.0 or later.
#pragma once

#include "cuda/sparse_mma_block.h"

namespace confpress::cuda {

template <class Registers>
struct DeviceMmaThreads {
  Registers registers;

  template <class Phase>
  __device__ __forceinline__ void each(const Phase& phase) {
    phase(static_cast<int>(threadIdx.x), registers);
  }

  __device__ __forceinline__ void copy(Chunk& to, const Half* from, bool exists) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(in_shared(to)), "l"(from),
                 "r"(exists ? 16 : 0)
                 : "memory");
  }

  __device__ __forceinline__ void wait() {
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
  }

  template <class RowOf, class To>
  __device__ __forceinline__ void read_matrices(const RowOf& row_of, const To& to_of) {
    uint32_t (&to)[4] = to_of(registers).words;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(in_shared(row_of(static_cast<int>(threadIdx.x))))
                 : "memory");
  }

  template <int kSelector, class Of>
  __device__ __forceinline__ void multiply(const Of& operands_of) {
    const MmaOperands of = operands_of(registers);
    asm volatile(
        "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, %13;"
        : "+f"(of.sums[0]), "+f"(of.sums[1]), "+f"(of.sums[2]), "+f"(of.sums[3])
        : "r"(of.weights[0]), "r"(of.weights[1]), "r"(of.weights[2]), "r"(of.weights[3]),
          "r"(of.frames[0]), "r"(of.frames[1]), "r"(of.frames[2]), "r"(of.frames[3]),
          "r"(of.metadata), "n"(kSelector));
  }

 private:
  static __device__ __forceinline__ unsigned in_shared(const Chunk& chunk) {
    return static_cast<unsigned>(__cvta_generic_to_shared(&chunk));
  }
};

}  // namespace confpress::cuda

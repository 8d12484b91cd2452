// The products of runtime/kernels/cuda on a processor: every block of threads, every phase, every
// thread, one after another. test_cuda.py calls it.
#include <memory>
#include <vector>

#include "cuda/dense_int8.h"
#include "cuda/sparse_float.h"
#include "cuda/sparse_int8.h"

namespace {

using namespace confpress;
using namespace confpress::cuda;

template <class Kind>
struct HostThreads {
  std::vector<typename ProductBlock<Kind>::Registers> registers{kThreads};
  bool backwards = false;

  template <class Phase>
  void each(const Phase& phase) {
    // No phase may depend on the order of its threads: every second one runs from the last.
    for (int i = 0; i < kThreads; ++i) {
      const int thread = backwards ? kThreads - 1 - i : i;
      phase(thread, registers[thread]);
    }
    backwards = !backwards;
  }
};

template <class Kind>
void run(const typename Kind::Problem& problem, int64_t wanted) {
  const Plan plan = plan_of<Kind>(problem.shape.frames, problem.shape.rows, wanted);
  const auto shared = std::make_unique<SharedMemory<Kind>>();
  HostThreads<Kind> threads;
  const int64_t count = ProductBlock<Kind>::count(problem.shape, plan);
  for (int64_t block = 0; block < count; ++block) {
    ProductBlock<Kind>(problem, plan, *shared, block).run(threads);
  }
}

Shape shape_of(const int64_t (&sizes)[3]) {
  return {sizes[0], static_cast<int>(sizes[1]), static_cast<int>(sizes[2]),
          static_cast<int>(ceil_div(sizes[2], kColumns))};
}

template <class T, class Weight>
void sparse_float(const T* x, const Weight* weights, const uint8_t* columns, const float* bias,
                  T* y, const int64_t (&sizes)[3], int kept, int activation, int64_t wanted) {
  run<SparseFloat<T, Weight>>(
      {shape_of(sizes), x, weights, columns, kept, bias, y, static_cast<Activation>(activation)},
      wanted);
}

}  // namespace

// sizes: frames, rows, columns.
extern "C" void sparse_float32(const float* x, const float* weights, const uint8_t* columns,
                               const float* bias, float* y, const int64_t (&sizes)[3], int kept,
                               int activation, int64_t wanted) {
  sparse_float(x, weights, columns, bias, y, sizes, kept, activation, wanted);
}

extern "C" void sparse_bfloat16(const float* x, const BFloat16* weights, const uint8_t* columns,
                                const float* bias, float* y, const int64_t (&sizes)[3], int kept,
                                int activation, int64_t wanted) {
  sparse_float(x, weights, columns, bias, y, sizes, kept, activation, wanted);
}

extern "C" void sparse_float16(const Half* x, const Half* weights, const uint8_t* columns,
                               const float* bias, Half* y, const int64_t (&sizes)[3], int kept,
                               int activation, int64_t wanted) {
  sparse_float(x, weights, columns, bias, y, sizes, kept, activation, wanted);
}

extern "C" void sparse_int8(const float* x, const uint32_t* weights, const uint32_t* columns,
                            const float* scales, const float* bias, float* y,
                            const int64_t (&sizes)[3], int slots, int activation, int64_t wanted) {
  run<SparseInt8>({shape_of(sizes),
                   x,
                   weights,
                   columns,
                   slots,
                   {scales, bias, y, static_cast<Activation>(activation)}},
                  wanted);
}

extern "C" void dense_int8(const float* x, const uint32_t* weights, const float* scales,
                           const float* bias, float* y, const int64_t (&sizes)[3], int activation,
                           int64_t wanted) {
  const int64_t in_groups[3] = {sizes[0], sizes[1],
                                static_cast<int64_t>(ceil_div(sizes[2], DenseInt8::kGroup))};
  run<DenseInt8>({shape_of(in_groups),
                  static_cast<int>(sizes[2]),
                  x,
                  weights,
                  {scales, bias, y, static_cast<Activation>(activation)}},
                 wanted);
}

// The threads of a plan along frames, rows and blocks of columns; kind: 4, 8 or 16 frames a thread.
extern "C" void plan(int kind, int64_t frames, int64_t rows, int64_t wanted, int (&out)[3]) {
  const Plan chosen = kind == 4   ? plan_of<SparseFloat<float>>(frames, rows, wanted)
                      : kind == 8 ? plan_of<SparseFloat<Half>>(frames, rows, wanted)
                                  : plan_of<SparseInt8>(frames, rows, wanted);
  out[0] = chosen.frame_lanes;
  out[1] = chosen.row_lanes;
  out[2] = chosen.groups;
}

extern "C" void from_half(const Half* halves, float* floats, int64_t count) {
  for (int64_t i = 0; i < count; ++i) floats[i] = to_float(halves[i]);
}

extern "C" void to_half(const float* floats, Half* halves, int64_t count) {
  for (int64_t i = 0; i < count; ++i) halves[i] = from_float<Half>(floats[i]);
}

#include "lanes/lanes_avx2.h"
#include "sparse/sparse_linear_float_tile.h"

namespace confpress {

const SparseFloatKernels kSparseFloatAvx2 = sparse_float_kernels<avx2::Lanes>();

}  // namespace confpress

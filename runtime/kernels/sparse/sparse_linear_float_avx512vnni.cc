#include "lanes/lanes_avx512.h"
#include "sparse/sparse_linear_float_tile.h"

namespace confpress {

const SparseFloatKernels kSparseFloatAvx512Vnni = sparse_float_kernels<avx512::Lanes>();

}  // namespace confpress

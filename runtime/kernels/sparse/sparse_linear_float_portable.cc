#include "lanes/lanes_portable.h"
#include "sparse/sparse_linear_float_tile.h"

namespace confpress {

const SparseFloatKernels kSparseFloatPortable = sparse_float_kernels<portable::Lanes>();

}  // namespace confpress

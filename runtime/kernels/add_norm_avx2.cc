#include "add_norm_rows.h"
#include "lanes_avx2.h"

namespace confpress {

const AddNormKernel kAddNormAvx2 = add_norm_kernel<avx2::Lanes>();

}  // namespace confpress

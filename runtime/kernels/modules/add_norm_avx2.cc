#include "lanes/lanes_avx2.h"
#include "modules/add_norm_rows.h"

namespace confpress {

const AddNormKernel kAddNormAvx2 = add_norm_kernel<avx2::Lanes>();

}  // namespace confpress

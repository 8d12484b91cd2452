#include "lanes/lanes_avx512.h"
#include "modules/add_norm_rows.h"

namespace confpress {

const AddNormKernel kAddNormAvx512Vnni = add_norm_kernel<avx512::Lanes>();

}  // namespace confpress

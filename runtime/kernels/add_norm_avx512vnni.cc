#include "add_norm_rows.h"
#include "lanes_avx512.h"

namespace confpress {

const AddNormKernel kAddNormAvx512Vnni = add_norm_kernel<avx512::Lanes>();

}  // namespace confpress

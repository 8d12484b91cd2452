#include "lanes/lanes_portable.h"
#include "modules/add_norm_rows.h"

namespace confpress {

const AddNormKernel kAddNormPortable = add_norm_kernel<portable::Lanes>();

}  // namespace confpress

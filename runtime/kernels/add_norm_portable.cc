#include "add_norm_rows.h"
#include "lanes_portable.h"

namespace confpress {

const AddNormKernel kAddNormPortable = add_norm_kernel<portable::Lanes>();

}  // namespace confpress

#include "conv_module_strip.h"
#include "lanes_portable.h"

namespace confpress {

const ConvModuleKernel kConvModulePortable = conv_module_kernel<portable::Lanes>();

}  // namespace confpress

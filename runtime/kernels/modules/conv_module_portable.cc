#include "lanes/lanes_portable.h"
#include "modules/conv_module_strip.h"

namespace confpress {

const ConvModuleKernel kConvModulePortable = conv_module_kernel<portable::Lanes>();

}  // namespace confpress

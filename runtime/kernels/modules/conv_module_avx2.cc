#include "lanes/lanes_avx2.h"
#include "modules/conv_module_strip.h"

namespace confpress {

const ConvModuleKernel kConvModuleAvx2 = conv_module_kernel<avx2::Lanes>();

}  // namespace confpress

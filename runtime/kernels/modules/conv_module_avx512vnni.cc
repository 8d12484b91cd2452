#include "lanes/lanes_avx512.h"
#include "modules/conv_module_strip.h"

namespace confpress {

const ConvModuleKernel kConvModuleAvx512Vnni = conv_module_kernel<avx512::Lanes>();

}  // namespace confpress

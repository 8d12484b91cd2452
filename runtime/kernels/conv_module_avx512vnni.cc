#include "conv_module_strip.h"
#include "lanes_avx512.h"

namespace confpress {

const ConvModuleKernel kConvModuleAvx512Vnni = conv_module_kernel<avx512::Lanes>();

}  // namespace confpress

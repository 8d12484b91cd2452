#include "conv_module_strip.h"
#include "lanes_avx2.h"

namespace confpress {

const ConvModuleKernel kConvModuleAvx2 = conv_module_kernel<avx2::Lanes>();

}  // namespace confpress

#include "conv2d/depthwise_conv2d_row.h"
#include "lanes/lanes_avx512.h"

namespace confpress {

const DepthwiseConv2dRow kDepthwiseConv2dAvx512Vnni = DepthwiseConv2d<avx512::Lanes>::row;

}  // namespace confpress

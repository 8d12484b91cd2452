#include "conv2d/depthwise_conv2d_row.h"
#include "lanes/lanes_avx2.h"

namespace confpress {

const DepthwiseConv2dRow kDepthwiseConv2dAvx2 = DepthwiseConv2d<avx2::Lanes>::row;

}  // namespace confpress

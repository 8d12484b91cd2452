#include "conv2d/depthwise_conv2d_row.h"
#include "lanes/lanes_portable.h"

namespace confpress {

const DepthwiseConv2dRow kDepthwiseConv2dPortable = DepthwiseConv2d<portable::Lanes>::row;

}  // namespace confpress

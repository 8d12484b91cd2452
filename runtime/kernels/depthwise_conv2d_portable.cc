#include "depthwise_conv2d_row.h"
#include "lanes_portable.h"

namespace confpress {

const DepthwiseConv2dRow kDepthwiseConv2dPortable = DepthwiseConv2d<portable::Lanes>::row;

}  // namespace confpress

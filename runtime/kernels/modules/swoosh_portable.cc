#include "lanes/lanes_portable.h"
#include "modules/swoosh_lanes.h"

namespace confpress {

const SwooshKernel kSwooshPortable = swoosh_kernel<portable::Lanes>();

}  // namespace confpress

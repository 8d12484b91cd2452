#include "lanes/lanes_avx2.h"
#include "modules/swoosh_lanes.h"

namespace confpress {

const SwooshKernel kSwooshAvx2 = swoosh_kernel<avx2::Lanes>();

}  // namespace confpress

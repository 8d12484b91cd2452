#include "lanes/lanes_avx512.h"
#include "modules/swoosh_lanes.h"

namespace confpress {

const SwooshKernel kSwooshAvx512Vnni = swoosh_kernel<avx512::Lanes>();

}  // namespace confpress

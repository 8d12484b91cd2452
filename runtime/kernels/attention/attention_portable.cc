#include "attention/attention_block.h"
#include "lanes/lanes_portable.h"

namespace confpress {

const AttentionKernel kAttentionPortable = attention_kernel<FloatProducts<portable::Lanes>>();
const AttentionKernel kRoundedAttentionPortable =
    attention_kernel<RoundedProducts<portable::Lanes>>();

}  // namespace confpress

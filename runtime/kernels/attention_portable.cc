#include "attention_block.h"
#include "lanes_portable.h"

namespace confpress {

const AttentionKernel kAttentionPortable = attention_kernel<portable::Lanes>();

}  // namespace confpress

#include "lanes_portable.h"
#include "rel_pos_attention_block.h"

namespace confpress {

const RelPosAttentionKernel kRelPosAttentionPortable = rel_pos_attention_kernel<portable::Lanes>();

}  // namespace confpress

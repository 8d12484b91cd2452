#include "lanes_avx2.h"
#include "rel_pos_attention_block.h"

namespace confpress {

const RelPosAttentionKernel kRelPosAttentionAvx2 = rel_pos_attention_kernel<avx2::Lanes>();

}  // namespace confpress

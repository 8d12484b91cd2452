#include "lanes_avx512.h"
#include "rel_pos_attention_block.h"

namespace confpress {

const RelPosAttentionKernel kRelPosAttentionAvx512Vnni = rel_pos_attention_kernel<avx512::Lanes>();

}  // namespace confpress

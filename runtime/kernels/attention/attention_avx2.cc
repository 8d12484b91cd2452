#include "attention/attention_block.h"
#include "lanes/lanes_avx2.h"

namespace confpress {

const AttentionKernel kAttentionAvx2 = attention_kernel<FloatProducts<avx2::Lanes>>();
const AttentionKernel kRoundedAttentionAvx2 = attention_kernel<RoundedProducts<avx2::Lanes>>();

}  // namespace confpress

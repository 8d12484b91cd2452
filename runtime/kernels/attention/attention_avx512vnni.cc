#include "attention/attention_block.h"
#include "lanes/lanes_avx512.h"

namespace confpress {

const AttentionKernel kAttentionAvx512Vnni = attention_kernel<FloatProducts<avx512::Lanes>>();
const AttentionKernel kRoundedAttentionAvx512Vnni =
    attention_kernel<RoundedProducts<avx512::Lanes>>();

}  // namespace confpress

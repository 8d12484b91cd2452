#include "attention_block.h"
#include "lanes_avx2.h"

namespace confpress {

const AttentionKernel kAttentionAvx2 = attention_kernel<avx2::Lanes>();

}  // namespace confpress

#include "attention_block.h"
#include "lanes_avx512.h"

namespace confpress {

const AttentionKernel kAttentionAvx512Vnni = attention_kernel<avx512::Lanes>();

}  // namespace confpress

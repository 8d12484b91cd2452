#include "attention/attention_block.h"
#include "attention/attention_products_amx.h"

namespace confpress {

const AttentionKernel kRoundedAttentionAmx = attention_kernel<TileProducts>();

}  // namespace confpress

#include "attention_block.h"
#include "attention_products_amx.h"

namespace confpress {

const AttentionKernel kRoundedAttentionAmx = attention_kernel<TileProducts>();

}  // namespace confpress

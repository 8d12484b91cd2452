#include "conv2d/sparse_conv2d_avx2.h"
#include "lanes/product_int7_avx2.h"

namespace confpress {
namespace {

using Tiles = SparseConv2dAvx2Tiles<Int7Product>;

}  // namespace

const SparseConv2dKernel kSparseConv2dInt7Avx2{sizeof(uint8_t), Tiles::kTilePlaces, 1,
                                               Tiles::multiply};

}  // namespace confpress

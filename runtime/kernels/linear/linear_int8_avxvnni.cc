// 6 frames x 1 strip, AVX-VNNI: 12 accumulators of 8 rows.
#include "lanes/product_avxvnni.h"
#include "linear/linear_dense_avx2.h"

namespace confpress {
namespace {

using Tiles = LinearDenseAvx2Tiles<UnsignedProduct, 6>;

}  // namespace

const LinearInt8Kernel kLinearInt8AvxVnni{&kFrameQuantizerAvx2Unsigned,
                                          kTilesOfTask * Tiles::kTileFrames, 1, Tiles::multiply};

}  // namespace confpress

// 6 frames x 1 strip, AVX-VNNI: 12 accumulators of 8 rows.
#include "linear_dense_avx2.h"
#include "product_avxvnni.h"

namespace confpress {
namespace {

using Tiles = LinearDenseAvx2Tiles<UnsignedProduct, 6>;

}  // namespace

const LinearInt8Kernel kLinearInt8AvxVnni{&kFrameQuantizerAvx2Unsigned,
                                          kTilesOfTask * Tiles::kTileFrames, 1, Tiles::multiply};

}  // namespace confpress

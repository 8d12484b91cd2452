// 4 frames x 1 strip, AVX2: 8 accumulators of 8 rows.
#include "lanes/product_int7_avx2.h"
#include "linear/linear_dense_avx2.h"

namespace confpress {
namespace {

using Tiles = LinearDenseAvx2Tiles<Int7Product, 4>;

}  // namespace

const LinearInt8Kernel kLinearInt7Avx2{&kFrameQuantizerAvx2Unsigned,
                                       kTilesOfTask * Tiles::kTileFrames, 1, Tiles::multiply};

}  // namespace confpress

#include "lanes/product_int7_avx2.h"
#include "sparse/linear_sparse_avx2.h"

namespace confpress {
namespace {

using Tiles = LinearSparseAvx2Tiles<Int7Product>;

}  // namespace

const LinearSparseKernel kLinearSparseInt7Avx2{&kFrameQuantizerAvx2Unsigned, Tiles::kTileFrames, 1,
                                               Tiles::multiply};

}  // namespace confpress

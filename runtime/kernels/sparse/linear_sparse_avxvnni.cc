#include "lanes/product_avxvnni.h"
#include "sparse/linear_sparse_avx2.h"

namespace confpress {
namespace {

using Tiles = LinearSparseAvx2Tiles<UnsignedProduct>;

}  // namespace

const LinearSparseKernel kLinearSparseAvxVnni{&kFrameQuantizerAvx2Unsigned, Tiles::kTileFrames, 1,
                                              Tiles::multiply};

}  // namespace confpress

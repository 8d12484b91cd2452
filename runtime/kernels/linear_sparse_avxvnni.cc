#include "linear_sparse_avx2.h"
#include "product_avxvnni.h"

namespace confpress {
namespace {

using Tiles = LinearSparseAvx2Tiles<UnsignedProduct>;

}  // namespace

const LinearSparseKernel kLinearSparseAvxVnni{&kFrameQuantizerAvx2Unsigned, Tiles::kTileFrames, 1,
                                              Tiles::multiply};

}  // namespace confpress

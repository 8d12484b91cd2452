// vpdpbusd multiplies unsigned codes with signed weights and adds without saturating.
#include "add_products_avxvnni.h"
#include "linear_sparse_avx2.h"

namespace confpress {
namespace {

struct UnsignedProduct {
  explicit UnsignedProduct(__m256i w) : weights(w) {}
  void add(__m256i& sums, __m256i x) const { avxvnni::add_products(sums, x, weights); }
  __m256i weights;
};

using Tiles = LinearSparseAvx2Tiles<UnsignedProduct>;

}  // namespace

const LinearSparseKernel kLinearSparseAvxVnni{&kFrameQuantizerAvxVnni, nullptr, Tiles::kTileFrames,
                                              1, Tiles::multiply};

}  // namespace confpress

// vpmaddubsw multiplies, with the weight's sign moved to the code: its two products, of at most
// 127 · 128 each, stay within an int16, which unsigned codes (255 · 127 · 2) would not.
#include "sparse/linear_sparse_avx2.h"

namespace confpress {
namespace {

struct SignedProduct {
  explicit SignedProduct(__m256i w) : weights(w), magnitudes(_mm256_abs_epi8(w)) {}
  void add(__m256i& sums, __m256i x) const {
    const __m256i pairs = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(x, weights));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  __m256i weights;
  __m256i magnitudes;
};

using Tiles = LinearSparseAvx2Tiles<SignedProduct>;

}  // namespace

const LinearSparseKernel kLinearSparseAvx2{&kFrameQuantizerAvx2Signed, Tiles::kTileFrames, 1,
                                           Tiles::multiply};

}  // namespace confpress

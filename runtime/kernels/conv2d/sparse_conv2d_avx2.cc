// Codes up to 255 times weights would saturate vpmaddubsw's int16, so even and odd codes are
// widened and multiplied by vpmaddwd.
#include "conv2d/sparse_conv2d_avx2.h"

namespace confpress {
namespace {

struct WideProduct {
  explicit WideProduct(__m256i w)
      : even(_mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8)), odd(_mm256_srai_epi16(w, 8)) {}
  void add(__m256i& sums, __m256i x) const {
    const __m256i evens = _mm256_and_si256(x, _mm256_set1_epi16(0xff));
    const __m256i odds = _mm256_srli_epi16(x, 8);
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(evens, even));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(odds, odd));
  }
  __m256i even;
  __m256i odd;
};

using Tiles = SparseConv2dAvx2Tiles<WideProduct>;

}  // namespace

const SparseConv2dKernel kSparseConv2dAvx2{sizeof(uint8_t), Tiles::kTilePlaces, 1, Tiles::multiply};

}  // namespace confpress

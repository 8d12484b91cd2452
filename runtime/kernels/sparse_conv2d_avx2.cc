// 4 places x 1 strip, AVX2. Codes up to 255 times weights would saturate vpmaddubsw's int16, so
// even and odd codes are widened and multiplied by vpmaddwd.
#include "conv2d_tile.h"
#include "lanes_avx2.h"
#include "sparse_conv2d.h"
#include "sparse_tile_avx2.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress {
namespace {

using avx2::Lanes;

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

using Sparse = SparseAvx2Tiles<WideProduct>;

struct PlaceTiles {
  template <SlotReach kReach, int kPlaces>
  [[gnu::noinline]] static void tile(const SparseConv2dProblem& p, size_t place, size_t strip) {
    const size_t channel = strip * kConvStrip;
    PlaceRows<kPlaces> places(p, place);
    ConvTotals<Lanes, kPlaces, Sparse::kHalves> totals;
    start_totals<Lanes>(p, channel, totals);
    for (size_t tap = 0; tap < p.window.time.taps; ++tap) {
      places.enter(tap);
      CodesOfPieces<kPlaces> codes;
      CONFPRESS_UNROLL
      for (int i = 0; i < kPlaces; ++i) codes.pieces[i] = held(places.codes(i));
      __m256i sums[kPlaces][Sparse::kHalves];
      start_sums<Lanes>(p, places, tap, channel, sums);
      Sparse::add_slots<kReach>(p.of_tap(tap), strip, codes, sums);
      add_scaled<Lanes>(p, places, tap, channel, sums, totals);
    }
    store_totals<Lanes>(p, place, channel, totals);
  }
};

void multiply(const SparseConv2dProblem& p, Range places, Range strips) noexcept {
  Sparse::multiply<PlaceTiles>(p.first_tap.reach, p, places, strips);
}

}  // namespace

const SparseConv2dKernel kSparseConv2dAvx2{sizeof(uint8_t), Sparse::kTileFrames, 1, multiply};

}  // namespace confpress

// 4 places x 8 output channels, AVX2: int16 codes times weights widened to int16, vpmaddwd. Codes
// up to 255 times weights would saturate vpmaddubsw's int16.
#include <immintrin.h>

#include "conv2d/conv2d_tile.h"
#include "conv2d/quant_conv2d.h"
#include "lanes/lanes_avx2.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress {
namespace {

using avx2::Lanes;

constexpr int kTilePlaces = 4;
constexpr size_t kLanes = 8;  // half a strip

// The four codes of a group, four times.
__m256i broadcast_group(const std::byte* codes) {
  long long word = 0;
  __builtin_memcpy(&word, codes, sizeof word);
  return _mm256_set1_epi64x(word);
}

// The 4 input channels of 4 output channels, as int16.
__m256i widened(const int8_t* weights) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(weights)));
}

// Each channel's sum is in two neighbouring int32 of `low` (channels 0-3) and `high` (4-7).
__m256i channel_sums(__m256i low, __m256i high) {
  return _mm256_permute4x64_epi64(_mm256_hadd_epi32(low, high), 0xd8);
}

template <int kPlaces>
void tile(const QuantConv2dProblem& p, size_t place, size_t channel) {
  const size_t of_channel = channel % kConvStrip * kConvGroup;
  const auto add = [&](size_t tap, const auto& codes, auto& sums) __attribute__((always_inline)) {
    const int8_t* weights = p.weights_at(tap, channel / kConvStrip) + of_channel;
    __m256i low[kPlaces];
    __m256i high[kPlaces];
    CONFPRESS_UNROLL
    for (int i = 0; i < kPlaces; ++i) low[i] = high[i] = _mm256_setzero_si256();
    const size_t groups = p.groups_of_piece();
    for (size_t group = 0; group < groups; ++group, weights += kConvGroupBytes) {
      const __m256i w_low = widened(weights);
      const __m256i w_high = widened(weights + kConvGroupBytes / 4);
      CONFPRESS_UNROLL
      for (int i = 0; i < kPlaces; ++i) {
        const __m256i x = broadcast_group(codes[i] + group * kConvGroup * sizeof(int16_t));
        low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(x, w_low));
        high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(x, w_high));
      }
    }
    CONFPRESS_UNROLL
    for (int i = 0; i < kPlaces; ++i) {
      sums[i][0] = _mm256_add_epi32(sums[i][0], channel_sums(low[i], high[i]));
    }
  };
  compute_tile<Lanes, kPlaces, 1>(p, place, channel, add);
}

void half_strip(const QuantConv2dProblem& p, Range places, size_t channel) {
  size_t place = places.begin;
  for (; place + kTilePlaces <= places.end; place += kTilePlaces) {
    tile<kTilePlaces>(p, place, channel);
  }
  for (; place < places.end; ++place) tile<1>(p, place, channel);
}

void multiply(const QuantConv2dProblem& p, Range places, Range strips) noexcept {
  for (size_t channel = strips.begin * kConvStrip;
       channel < strips.end * kConvStrip && channel < p.channels; channel += kLanes) {
    half_strip(p, places, channel);
  }
}

}  // namespace

const QuantConv2dKernel kQuantConv2dAvx2{sizeof(int16_t), kTilePlaces, 1, multiply};

}  // namespace confpress

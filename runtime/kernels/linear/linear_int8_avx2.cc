// 4 frames x 8 rows, AVX2: int16 codes times weights widened to int16, vpmaddwd. Two products of
// at most 127 · 128 are added to an int32, so nothing saturates (vpmaddubsw would, at 255 · 127 ·
// 2).
#include <immintrin.h>

#include "lanes/lanes_avx2.h"
#include "linear/linear_epilogue.h"
#include "linear/linear_int8.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress {
namespace {

using avx2::Lanes;

constexpr size_t kTileFrames = 4;

// The four codes of a group, four times.
__m256i broadcast_group(const int16_t* codes) {
  long long word = 0;
  __builtin_memcpy(&word, codes, sizeof word);
  return _mm256_set1_epi64x(word);
}

// The 4 columns of 4 rows, as int16.
__m256i widened(const int8_t* weights) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(weights)));
}

// Each row's sum is in two neighbouring int32 of `low` (rows 0-3) and `high` (rows 4-7).
__m256i row_sums(__m256i low, __m256i high) {
  return _mm256_permute4x64_epi64(_mm256_hadd_epi32(low, high), 0xd8);
}

template <int kFrames>
void tile(const LinearInt8Problem& p, size_t frame, size_t row, const int8_t* weights) {
  const auto* bytes = static_cast<const std::byte*>(p.codes) + frame * p.codes_stride;
  const auto* codes = reinterpret_cast<const int16_t*>(bytes);
  const size_t stride = p.codes_stride / sizeof(int16_t);

  __m256i low[kFrames];
  __m256i high[kFrames];
  CONFPRESS_UNROLL
  for (int f = 0; f < kFrames; ++f) low[f] = high[f] = _mm256_setzero_si256();
  for (size_t group = 0; group < p.groups; ++group) {
    const __m256i w_low = widened(weights + group * kGroupBytes);
    const __m256i w_high = widened(weights + group * kGroupBytes + kGroupBytes / 4);
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      const __m256i x = broadcast_group(codes + f * stride + group * kGroupColumns);
      low[f] = _mm256_add_epi32(low[f], _mm256_madd_epi16(x, w_low));
      high[f] = _mm256_add_epi32(high[f], _mm256_madd_epi16(x, w_high));
    }
  }
  const __m256i offsets = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p.offsets + row));
  __m256i sums[kFrames][1];
  CONFPRESS_UNROLL
  for (int f = 0; f < kFrames; ++f) {
    sums[f][0] = _mm256_add_epi32(row_sums(low[f], high[f]), offsets);
  }
  finish<Lanes>(p, sums, frame, row);
}

void half_strip(const LinearInt8Problem& p, Range frames, size_t row, const int8_t* weights) {
  size_t frame = frames.begin;
  for (; frame + kTileFrames <= frames.end; frame += kTileFrames) {
    tile<kTileFrames>(p, frame, row, weights);
  }
  for (; frame < frames.end; ++frame) tile<1>(p, frame, row, weights);
}

void multiply(const LinearInt8Problem& p, Range frames, Range strips) noexcept {
  for (size_t strip = strips.begin; strip < strips.end; ++strip) {
    const int8_t* weights = p.weights + strip * p.groups * kGroupBytes;
    const size_t row = strip * kStripRows;
    half_strip(p, frames, row, weights);
    if (row + Lanes::kWidth < p.rows) {
      half_strip(p, frames, row + Lanes::kWidth, weights + kGroupBytes / 2);
    }
  }
}

}  // namespace

const LinearInt8Kernel kLinearInt8Avx2{&kFrameQuantizerAvx2, kTilesOfTask * kTileFrames, 1,
                                       multiply};

}  // namespace confpress

// 4 frames x 8 rows, AVX2: vpmaddubsw takes the weights, at most 32, as its unsigned operand, and
// four groups of columns are added in int16 before they are widened.
#include <immintrin.h>

#include "lanes/lanes_avx2.h"
#include "linear/linear_lowbit_end.h"
#include "linear/linear_lowbit_task.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress {
namespace {

constexpr size_t kLanes = 8;  // rows of half a strip

void narrow(void* codes, size_t length, int32_t* sums) noexcept {
  const auto* from = static_cast<const int16_t*>(codes);
  auto* to = static_cast<int8_t*>(codes);
  const __m256i ones = _mm256_set1_epi16(1);
  // The quantiser wrote zeros to the end of the run of 16.
  for (size_t k = 0; k < length; k += kSumColumns, ++sums) {
    const __m256i run = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + k));
    const __m128i low = _mm256_castsi256_si128(run);
    const __m128i high = _mm256_extracti128_si256(run, 1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + k), _mm_packs_epi16(low, high));
    const __m256i pairs = _mm256_madd_epi16(run, ones);
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    *sums = _mm_cvtsi128_si32(sum);
  }
}

__m256i broadcast_group(const int8_t* codes) {
  int word = 0;
  __builtin_memcpy(&word, codes, sizeof word);
  return _mm256_set1_epi32(word);
}

template <int kBits>
void decode_as(const LinearLowbitProblem& p, const uint8_t* packed, size_t count, uint8_t* out) {
  const __m256i table =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p.table)));
  const __m256i mask = _mm256_set1_epi8((1 << kBits) - 1);
  const size_t halves = 2 * count;
  for (size_t half = 0; half < halves; ++half) {
    __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed) + half);
    uint8_t* to = out + half / 2 * (8 / kBits) * kGroupBytes + half % 2 * kGroupBytes / 2;
    CONFPRESS_UNROLL
    for (int i = 0; i < 8 / kBits; ++i, to += kGroupBytes) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(to),
                         _mm256_shuffle_epi8(table, _mm256_and_si256(bytes, mask)));
      bytes = _mm256_srli_epi16(bytes, kBits);
    }
  }
}

// Lanes below `count` are all ones.
__m256i first_lanes(size_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(std::min(count, kLanes))), lane);
}

// sums[f] += the products of kGroups groups, for every frame.
template <int kGroups, int kFrames>
void add_products(__m256i (&sums)[kFrames], const uint8_t* w, const int8_t* x, size_t stride) {
  __m256i weights[kGroups];
  CONFPRESS_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    weights[g] = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + g * kGroupBytes));
  }
  CONFPRESS_UNROLL
  for (int f = 0; f < kFrames; ++f) {
    const int8_t* codes = x + f * stride;
    __m256i pairs = _mm256_maddubs_epi16(weights[0], broadcast_group(codes));
    CONFPRESS_UNROLL
    for (int g = 1; g < kGroups; ++g) {
      const __m256i group = broadcast_group(codes + g * kGroupColumns);
      pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(weights[g], group));
    }
    sums[f] = _mm256_add_epi32(sums[f], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
}

struct Avx2 {
  static constexpr size_t kTileFrames = 4;
  static constexpr size_t kTileStrips = 1;

  static void decode(const LinearLowbitProblem& p, const uint8_t* packed, size_t count,
                     uint8_t* out) {
    if (p.bits == 4) return decode_as<4>(p, packed, count, out);
    decode_as<2>(p, packed, count, out);
  }

  template <int kFrames, int kStrips>
  static void tile(const LinearLowbitProblem& p, const LowbitTile& t) {
    static_assert(kStrips == 1);
    const size_t row = t.strip * kStripRows;
    half_tile<kFrames>(p, t, 0);
    if (row + kLanes < p.rows) half_tile<kFrames>(p, t, kLanes);
  }

  template <int kFrames>
  static void half_tile(const LinearLowbitProblem& p, const LowbitTile& t, size_t half) {
    const size_t row = t.strip * kStripRows + half;
    const int8_t* x = p.codes + t.frame * p.codes_stride;
    const uint8_t* w = t.weights + half * kGroupColumns;
    const float* scales = p.scales + t.strip * p.blocks * kStripRows + half;
    const __m256i lanes = first_lanes(p.rows - row);
    float* y = p.y + t.frame * p.rows + row;

    __m256 totals[kFrames][1];
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      totals[f][0] = t.first ? _mm256_setzero_ps() : _mm256_maskload_ps(y + f * p.rows, lanes);
    }
    for (size_t block = t.first_block; block < t.last_block; ++block) {
      size_t group = block * p.block_groups;
      const size_t end = std::min(group + p.block_groups, p.groups);
      __m256i sums[kFrames];
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) {
        sums[f] = _mm256_set1_epi32(p.starts[(t.frame + f) * p.blocks + block]);
      }
      for (; group + 4 <= end; group += 4, w += 4 * kGroupBytes) {
        add_products<4>(sums, w, x + group * kGroupColumns, p.codes_stride);
      }
      if (group < end) {
        add_products<2>(sums, w, x + group * kGroupColumns, p.codes_stride);
        w += 2 * kGroupBytes;
      }
      const __m256 block_scales = _mm256_loadu_ps(scales + block * kStripRows);
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) {
        totals[f][0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[f]), block_scales, totals[f][0]);
      }
    }
    end_tile<avx2::Lanes>(p, t, totals, half);
  }
};

}  // namespace

const LinearLowbitKernel kLinearLowbitAvx2{&kFrameQuantizerAvx2, true,   Avx2::kTileFrames,
                                           Avx2::kTileStrips,    narrow, lowbit_multiply<Avx2>};

}  // namespace confpress

// 6 frames x 2 strips, AVX-512 VNNI: 12 accumulators of a block, 12 of all blocks. The weights are
// the unsigned operand of vpdpbusd, the activations the signed one.
#include <immintrin.h>

#include "lanes/lanes_avx512.h"
#include "linear/linear_lowbit_end.h"
#include "linear/linear_lowbit_task.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress {
namespace {

// The stored codes are unsigned, the code plus 128.
void narrow(void* codes, size_t length, int32_t* sums) noexcept {
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  const __m512i ones = _mm512_set1_epi8(1);
  const __m512i quarters = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  auto* bytes = static_cast<int8_t*>(codes);
  for (size_t k = 0; k < length; k += kCodeRun, sums += kCodeRun / kSumColumns) {
    const __m512i run = _mm512_xor_si512(_mm512_loadu_si512(bytes + k), sign);
    _mm512_storeu_si512(bytes + k, run);
    __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, run);
    sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_CDAB));
    sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_BADC));
    const __m512i packed = _mm512_permutexvar_epi32(quarters, sum);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums), _mm512_castsi512_si128(packed));
  }
}

__m512i broadcast_group(const int8_t* codes) {
  int word = 0;
  __builtin_memcpy(&word, codes, sizeof word);
  return _mm512_set1_epi32(word);
}

// Assembly because GCC 12 copies accumulators around the intrinsic.
void add_products(__m512i& sums, __m512i weights, __m512i codes) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(weights), "v"(codes));
}

template <int kBits>
void decode_as(const LinearLowbitProblem& p, const uint8_t* packed, size_t count, uint8_t* out) {
  const __m512i table =
      _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p.table)));
  const __m512i mask = _mm512_set1_epi8((1 << kBits) - 1);
  for (size_t group = 0; group < count; ++group) {
    __m512i bytes = _mm512_loadu_si512(packed + group * kGroupBytes);
    CONFPRESS_UNROLL
    for (int i = 0; i < 8 / kBits; ++i, out += kGroupBytes) {
      _mm512_store_si512(out, _mm512_shuffle_epi8(table, _mm512_and_si512(bytes, mask)));
      bytes = _mm512_srli_epi16(bytes, kBits);
    }
  }
}

struct Avx512Vnni {
  static constexpr size_t kTileFrames = 6;
  static constexpr size_t kTileStrips = 2;

  static void decode(const LinearLowbitProblem& p, const uint8_t* packed, size_t count,
                     uint8_t* out) {
    if (p.bits == 4) return decode_as<4>(p, packed, count, out);
    decode_as<2>(p, packed, count, out);
  }

  template <int kFrames, int kStrips>
  [[gnu::noinline]] static void tile(const LinearLowbitProblem& p, const LowbitTile& t) {
    const size_t row = t.strip * kStripRows;
    const int8_t* x = p.codes + t.frame * p.codes_stride;
    const size_t stride = p.codes_stride;
    const uint8_t* w = t.weights;
    float* y = p.y + t.frame * p.rows + row;

    __mmask16 masks[kStrips];
    __m512 totals[kFrames][kStrips];
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) {
      const size_t left = p.rows - row - s * kStripRows;
      masks[s] = static_cast<__mmask16>(left < kStripRows ? (1u << left) - 1 : 0xffffu);
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) totals[f][s] = _mm512_setzero_ps();
    }
    // Y comes into the cache while the products are summed.
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      CONFPRESS_UNROLL
      for (int s = 0; s < kStrips; ++s) __builtin_prefetch(y + f * p.rows + s * kStripRows, 1);
    }
    if (!t.first) {
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) {
        CONFPRESS_UNROLL
        for (int s = 0; s < kStrips; ++s) {
          totals[f][s] = _mm512_maskz_loadu_ps(masks[s], y + f * p.rows + s * kStripRows);
        }
      }
    }
    for (size_t block = t.first_block; block < t.last_block; ++block) {
      const size_t begin = block * p.block_groups;
      const size_t end = std::min(begin + p.block_groups, p.groups);
      __m512i sums[kFrames][kStrips];
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) {
        const __m512i start = _mm512_set1_epi32(p.starts[(t.frame + f) * p.blocks + block]);
        CONFPRESS_UNROLL
        for (int s = 0; s < kStrips; ++s) sums[f][s] = start;
      }
      // A group's codes are read by address alone: every stride is a multiple of 64.
      for (size_t group = begin; group < end; group += 2) {
        CONFPRESS_UNROLL
        for (int half = 0; half < 2; ++half, w += kGroupBytes) {
          __m512i weights[kStrips];
          CONFPRESS_UNROLL
          for (int s = 0; s < kStrips; ++s) {
            weights[s] = _mm512_load_si512(w + s * kChunkGroups * kGroupBytes);
          }
          CONFPRESS_UNROLL
          for (int f = 0; f < kFrames; ++f) {
            const __m512i codes = broadcast_group(x + f * stride + (group + half) * kGroupColumns);
            CONFPRESS_UNROLL
            for (int s = 0; s < kStrips; ++s) add_products(sums[f][s], weights[s], codes);
          }
        }
      }
      CONFPRESS_UNROLL
      for (int s = 0; s < kStrips; ++s) {
        const __m512 scales =
            _mm512_loadu_ps(p.scales + ((t.strip + s) * p.blocks + block) * kStripRows);
        CONFPRESS_UNROLL
        for (int f = 0; f < kFrames; ++f) {
          totals[f][s] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[f][s]), scales, totals[f][s]);
        }
      }
    }
    end_tile<avx512::Lanes>(p, t, totals);
  }
};

}  // namespace

const LinearLowbitKernel kLinearLowbitAvx512Vnni{
    &kFrameQuantizerAvx512Vnni, true,   Avx512Vnni::kTileFrames,
    Avx512Vnni::kTileStrips,    narrow, lowbit_multiply<Avx512Vnni>};

}  // namespace confpress

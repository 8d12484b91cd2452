#include <immintrin.h>

#include "frame_codes.h"

namespace confpress {
namespace {

constexpr uint32_t kMagnitudeBits = 0x7fffffff;
constexpr size_t kLanes = 8;

// Lanes below `count` are all ones.
__m256i first_lanes(size_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
}

float scale(const float* frame, size_t length) noexcept {
  const __m256i mask = _mm256_set1_epi32(static_cast<int>(kMagnitudeBits));
  const auto* words = reinterpret_cast<const int*>(frame);
  __m256i largest = _mm256_setzero_si256();
  size_t k = 0;
  for (; k + kLanes <= length; k += kLanes) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + k));
    largest = _mm256_max_epi32(largest, _mm256_and_si256(x, mask));
  }
  if (k < length) {
    const __m256i x = _mm256_maskload_epi32(words + k, first_lanes(length - k));
    largest = _mm256_max_epi32(largest, _mm256_and_si256(x, mask));
  }
  __m128i half =
      _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1));
  return scale_of_magnitude(static_cast<uint32_t>(_mm_cvtsi128_si32(half)));
}

__m256i codes_of(__m256 x, __m256 s) {
  const __m256 quotient = _mm256_div_ps(x, s);
  return _mm256_cvtps_epi32(
      _mm256_round_ps(quotient, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

void store_run(int16_t* out, __m256i low, __m256i high) {
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), packed);
}

void codes(const float* frame, size_t length, float scale, void* codes) noexcept {
  auto* out = static_cast<int16_t*>(codes);
  const __m256 scales = _mm256_set1_ps(scale);
  size_t k = 0;
  for (; k + 2 * kLanes <= length; k += 2 * kLanes) {
    store_run(out + k, codes_of(_mm256_loadu_ps(frame + k), scales),
              codes_of(_mm256_loadu_ps(frame + k + kLanes), scales));
  }
  if (k < length) {
    const size_t left = length - k;
    const size_t low = left < kLanes ? left : kLanes;
    store_run(out + k, codes_of(_mm256_maskload_ps(frame + k, first_lanes(low)), scales),
              codes_of(_mm256_maskload_ps(frame + k + low, first_lanes(left - low)), scales));
  }
}

}  // namespace

const FrameQuantizer kFrameQuantizerAvx2{sizeof(int16_t), 0, scale, codes};

}  // namespace confpress

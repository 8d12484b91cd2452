#include <immintrin.h>

#include <algorithm>

#include "frames/frame_codes.h"

namespace confpress {
namespace {

constexpr uint32_t kMagnitudeBits = 0x7fffffff;
constexpr size_t kLanes = 8;
constexpr size_t kRun = 4 * kLanes;
static_assert(kCodeRun % kRun == 0);

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

// Codes as int16: of 16 floats in each register, in the order that packing leaves.
struct Run {
  __m256i low;
  __m256i high;
};

// What `quotient` makes of 32 floats, rounded.
template <class Quotient>
[[gnu::always_inline]] inline Run rounded(const __m256 x[4], const Quotient& quotient) {
  __m256i codes[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) codes[i] = _mm256_cvtps_epi32(quotient(x[i]));
  return {_mm256_packs_epi32(codes[0], codes[1]), _mm256_packs_epi32(codes[2], codes[3])};
}

[[gnu::always_inline]] inline bool differ(const Run& a, const Run& b) {
  const __m256i bits =
      _mm256_or_si256(_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high));
  return !_mm256_testz_si256(bits, bits);
}

// A frame's scale, and floats around its reciprocal: rounding to the nearest leaves these on their
// sides of it.
struct Divisor {
  explicit Divisor(float scale)
      : s(_mm256_set1_ps(scale)),
        below(_mm256_set1_ps(1.0f / scale * (1 - 0x1p-23f))),
        above(_mm256_set1_ps(1.0f / scale * (1 + 0x1p-23f))) {}
  __m256 s;
  __m256 below;
  __m256 above;
};

// round(x / s), without dividing where that is safe: the quotient lies between the products with
// what is below and above 1 / s, so where these have the same code it is the quotient's.
[[gnu::always_inline]] inline Run codes_of(const __m256 x[4], const Divisor& by) {
  const Run codes = rounded(x, [&](__m256 v) { return _mm256_mul_ps(v, by.below); });
  const Run others = rounded(x, [&](__m256 v) { return _mm256_mul_ps(v, by.above); });
  if (__builtin_expect(!differ(codes, others), 1)) return codes;
  return rounded(x, [&](__m256 v) { return _mm256_div_ps(v, by.s); });
}

// How codes are stored.
struct Wide {
  using Code = int16_t;
  [[gnu::always_inline]] static void store(Code* out, const Run& codes) {
    auto* to = reinterpret_cast<__m256i*>(out);
    _mm256_storeu_si256(to, _mm256_permute4x64_epi64(codes.low, 0xd8));
    _mm256_storeu_si256(to + 1, _mm256_permute4x64_epi64(codes.high, 0xd8));
  }
};

template <uint8_t kFlipped>
struct Bytes {
  using Code = uint8_t;
  [[gnu::always_inline]] static void store(Code* out, const Run& codes) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i bytes =
        _mm256_permutevar8x32_epi32(_mm256_packs_epi16(codes.low, codes.high), order);
    const __m256i flip = _mm256_set1_epi8(static_cast<char>(kFlipped));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_xor_si256(bytes, flip));
  }
};

template <class Stored>
void codes(const float* frame, size_t length, float scale, void* codes) noexcept {
  auto* out = static_cast<typename Stored::Code*>(codes);
  const Divisor by(scale);
  size_t k = 0;
  for (; k + kRun <= length; k += kRun) {
    const __m256 x[4] = {_mm256_loadu_ps(frame + k), _mm256_loadu_ps(frame + k + kLanes),
                         _mm256_loadu_ps(frame + k + 2 * kLanes),
                         _mm256_loadu_ps(frame + k + 3 * kLanes)};
    Stored::store(out + k, codes_of(x, by));
  }
  if (k < length) {
    __m256 x[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i) {
      const size_t start = std::min(k + i * kLanes, length);
      x[i] = _mm256_maskload_ps(frame + start, first_lanes(length - start));
    }
    Stored::store(out + k, codes_of(x, by));
  }
}

}  // namespace

const FrameQuantizer kFrameQuantizerAvx2{sizeof(int16_t), 0, scale, codes<Wide>};
const FrameQuantizer kFrameQuantizerAvx2Signed{sizeof(int8_t), 0, scale, codes<Bytes<0>>};
// Inverting the highest bit adds 128.
const FrameQuantizer kFrameQuantizerAvx2Unsigned{sizeof(uint8_t), 128, scale, codes<Bytes<0x80>>};

}  // namespace confpress

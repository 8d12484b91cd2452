// 6 frames x 8 rows, AVX2. vpshufb gathers four of 16 columns of a frame for each row; vpmaddubsw
// multiplies them, with the weight's sign moved to the code: its two products, of at most 127 · 128
// each, stay within an int16, which unsigned codes (255 · 127 · 2) would not.
#include <immintrin.h>

#include "activation_avx2.h"
#include "linear_sparse.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress {
namespace {

constexpr int kTileFrames = 6;
constexpr size_t kLanes = 8;  // rows of half a strip

// int16 codes to int8 codes, in the same place.
void narrow(void* codes, size_t length) noexcept {
  const auto* from = static_cast<const __m256i*>(codes);
  auto* to = static_cast<__m256i*>(codes);
  for (size_t k = 0; k < length; k += sizeof(__m256i), from += 2, ++to) {
    const __m256i low = _mm256_loadu_si256(from);
    const __m256i high = _mm256_loadu_si256(from + 1);
    _mm256_storeu_si256(to, _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8));
  }
}

__m256i window_at(const std::byte* codes) {
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(codes)));
}

// The columns of half a strip's slot, for look-ups in so many windows.
template <int kWindows>
class Places {
 public:
  explicit Places(const uint8_t* columns) {
    const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(columns));
    if constexpr (kWindows == 1) {
      of_[0] = all;  // a look-up reads the lowest four bits
    } else {
      const __m256i places =
          _mm256_and_si256(all, _mm256_set1_epi8(static_cast<char>(kWindows * kWindowColumns - 1)));
      CONFPRESS_UNROLL
      for (int i = 0; i < kWindows; ++i) {
        // In its own window a place is 0..15, and 0x70 more; elsewhere bit 7 asks for a zero.
        const __m256i own = _mm256_xor_si256(places, _mm256_set1_epi8(static_cast<char>(16 * i)));
        of_[i] = _mm256_add_epi8(own, _mm256_set1_epi8(0x70));
      }
    }
  }

  // What a frame has there.
  __m256i in(const std::byte* codes) const {
    __m256i x = _mm256_shuffle_epi8(window_at(codes), of_[0]);
    CONFPRESS_UNROLL
    for (int i = 1; i < kWindows; ++i) {
      const __m256i window = window_at(codes + i * kWindowColumns);
      x = _mm256_or_si256(x, _mm256_shuffle_epi8(window, of_[i]));
    }
    return x;
  }

 private:
  __m256i of_[kWindows];
};

constexpr int windows_of(SlotReach reach) {
  return reach == SlotReach::kWindow ? 1 : reach == SlotReach::kPair ? 2 : 4;
}

void finish(const LinearSparseProblem& p, __m256i sums, size_t frame, size_t row) {
  const __m256 product =
      _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(p.frame_scales[frame]));
  const __m256 z = _mm256_add_ps(_mm256_mul_ps(product, _mm256_loadu_ps(p.row_scales + row)),
                                 _mm256_loadu_ps(p.bias + row));
  const __m256 y = p.activation == Activation::kSilu ? avx2::activate<Activation::kSilu>(z) : z;
  float* out = p.y + frame * p.rows + row;
  const size_t left = p.rows - row;
  if (left >= kLanes) {
    _mm256_storeu_ps(out, y);
  } else {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(left)), lane);
    _mm256_maskstore_ps(out, mask, y);
  }
}

template <SlotReach kReach, int kFrames>
[[gnu::noinline]] void tile(const LinearSparseProblem& p, size_t frame, size_t row, size_t start) {
  constexpr int kWindows = windows_of(kReach);
  const std::byte* codes = p.codes + frame * p.codes_stride;
  const size_t stride = p.codes_stride;
  __m256i sums[kFrames];
  CONFPRESS_UNROLL
  for (int f = 0; f < kFrames; ++f) {
    sums[f] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p.offsets + row));
  }
  const size_t slots = p.slots();
  for (size_t slot = 0; slot < slots; ++slot) {
    const size_t at = start + slot * kSlotBytes;
    const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p.weights + at));
    const __m256i magnitudes = _mm256_abs_epi8(w);
    const Places<kWindows> places(p.columns + at);
    // Two addresses, of which each reaches three frames: no instructions are spent on the others.
    const std::byte* near = held(codes + p.first_column<kReach>(slot));
    const std::byte* far = held(near + 3 * stride);
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      const __m256i x = places.in(f < 3 ? near + f * stride : far + (f - 3) * stride);
      const __m256i pairs = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(x, w));
      sums[f] = _mm256_add_epi32(sums[f], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
  }
  CONFPRESS_UNROLL
  for (int f = 0; f < kFrames; ++f) finish(p, sums[f], frame + f, row);
}

template <SlotReach kReach, int kFrames>
void tile_of(const LinearSparseProblem& p, Range frames, size_t row, size_t start) {
  if constexpr (kFrames > 1) {
    if (frames.end - frames.begin < kFrames) {
      return tile_of<kReach, kFrames - 1>(p, frames, row, start);
    }
  }
  tile<kReach, kFrames>(p, frames.begin, row, start);
}

template <SlotReach kReach>
void multiply_as(const LinearSparseProblem& p, Range frames, Range strips) {
  const Parts tiles = cut(frames, ceil_div(frames.end - frames.begin, kTileFrames));
  for (size_t strip = strips.begin; strip < strips.end; ++strip) {
    const size_t first = strip * kStripRows;
    for (size_t half = 0; half < kStripRows && first + half < p.rows; half += kLanes) {
      const size_t start = strip * p.strip_bytes() + half * kSlotValues;
      for (size_t i = 0; i < tiles.count; ++i) {
        tile_of<kReach, kTileFrames>(p, part(tiles, i), first + half, start);
      }
    }
  }
}

void multiply(const LinearSparseProblem& p, Range frames, Range strips) noexcept {
  switch (p.reach) {
    case SlotReach::kWindow:
      return multiply_as<SlotReach::kWindow>(p, frames, strips);
    case SlotReach::kPair:
      return multiply_as<SlotReach::kPair>(p, frames, strips);
    case SlotReach::kBlock:
      return multiply_as<SlotReach::kBlock>(p, frames, strips);
  }
}

}  // namespace

const LinearSparseKernel kLinearSparseAvx2{&kFrameQuantizerAvx2, narrow, kTileFrames, 1, multiply};

}  // namespace confpress

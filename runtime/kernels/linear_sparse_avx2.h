// SparseLinear in registers of 32 bytes, for the `*_avx*.cc` files: 6 frames x 8 rows. vpshufb
// gathers four of 16 columns of a frame for each row.
#pragma once

#include "linear_avx2.h"
#include "linear_sparse.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress {

// Product is a type of the including file's own, so that no file runs code that was compiled for
// another's instruction set:
//   Product(w)     half a slot's weights
//   add(sums, x)   adds the products of the codes x, four to each of the sums
template <class Product>
struct LinearSparseAvx2Tiles {
  static constexpr int kTileFrames = 6;

  static __m256i window_at(const std::byte* codes) {
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
        const __m256i places = _mm256_and_si256(
            all, _mm256_set1_epi8(static_cast<char>(kWindows * kWindowColumns - 1)));
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

  static constexpr int windows_of(SlotReach reach) {
    return reach == SlotReach::kWindow ? 1 : reach == SlotReach::kPair ? 2 : 4;
  }

  template <SlotReach kReach, int kFrames>
  [[gnu::noinline]] static void tile(const LinearSparseProblem& p, size_t frame, size_t row,
                                     size_t start) {
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
      const Product product(w);
      const Places<kWindows> places(p.columns + at);
      // Two addresses, of which each reaches three frames: no instructions are spent on the others.
      const std::byte* near = held(codes + p.first_column<kReach>(slot));
      const std::byte* far = held(near + 3 * stride);
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) {
        const __m256i x = places.in(f < 3 ? near + f * stride : far + (f - 3) * stride);
        product.add(sums[f], x);
      }
    }
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      if (p.activation == Activation::kSilu) {
        avx2::finish<Activation::kSilu>(p, sums[f], frame + f, row);
      } else {
        avx2::finish<Activation::kNone>(p, sums[f], frame + f, row);
      }
    }
  }

  template <SlotReach kReach, int kFrames>
  static void tile_of(const LinearSparseProblem& p, Range frames, size_t row, size_t start) {
    if constexpr (kFrames > 1) {
      if (frames.end - frames.begin < kFrames) {
        return tile_of<kReach, kFrames - 1>(p, frames, row, start);
      }
    }
    tile<kReach, kFrames>(p, frames.begin, row, start);
  }

  template <SlotReach kReach>
  static void multiply_as(const LinearSparseProblem& p, Range frames, Range strips) {
    const Parts tiles = cut(frames, ceil_div(frames.end - frames.begin, kTileFrames));
    for (size_t strip = strips.begin; strip < strips.end; ++strip) {
      const size_t first = strip * kStripRows;
      for (size_t half = 0; half < kStripRows && first + half < p.rows; half += avx2::kLanes) {
        const size_t start = strip * p.strip_bytes() + half * kSlotValues;
        for (size_t i = 0; i < tiles.count; ++i) {
          tile_of<kReach, kTileFrames>(p, part(tiles, i), first + half, start);
        }
      }
    }
  }

  static void multiply(const LinearSparseProblem& p, Range frames, Range strips) noexcept {
    switch (p.reach) {
      case SlotReach::kWindow:
        return multiply_as<SlotReach::kWindow>(p, frames, strips);
      case SlotReach::kPair:
        return multiply_as<SlotReach::kPair>(p, frames, strips);
      case SlotReach::kBlock:
        return multiply_as<SlotReach::kBlock>(p, frames, strips);
    }
  }
};

}  // namespace confpress

#undef CONFPRESS_UNROLL

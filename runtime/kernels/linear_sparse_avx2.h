// SparseLinear in registers of 32 bytes, for the `*_avx*.cc` files: 4 frames x 1 strip. vpshufb
// gathers four of 16 columns of a frame for each of 8 rows.
#pragma once

#include "held.h"
#include "lanes_avx2.h"
#include "linear_epilogue.h"
#include "linear_sparse.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress {

// Product is a type of the including file's own, so that no file runs code that was compiled for
// another's instruction set:
//   Product(w)     half a slot's weights
//   add(sums, x)   adds the products of the codes x, four to each of the sums
template <class Product>
struct LinearSparseAvx2Tiles {
  static constexpr int kTileFrames = 4;
  static constexpr size_t kLanes = avx2::Lanes::kWidth;
  static constexpr int kHalves = kStripRows / kLanes;

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
  [[gnu::noinline]] static void tile(const LinearSparseProblem& p, size_t frame, size_t strip) {
    constexpr int kWindows = windows_of(kReach);
    const std::byte* codes = p.codes + frame * p.codes_stride;
    const size_t stride = p.codes_stride;
    const size_t three_strides = held(3 * stride);
    const size_t row = strip * kStripRows;
    const int8_t* weights = p.weights + strip * p.strip_bytes();
    const uint8_t* columns = p.columns + strip * p.strip_bytes();
    __m256i sums[kFrames][kHalves];
    CONFPRESS_UNROLL
    for (int h = 0; h < kHalves; ++h) {
      const __m256i offsets =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p.offsets + row + h * kLanes));
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) sums[f][h] = offsets;
    }
    const size_t slots = p.slots();
    for (size_t slot = 0; slot < slots; ++slot, weights += kSlotBytes, columns += kSlotBytes) {
      const __m256i* w = reinterpret_cast<const __m256i*>(weights);
      const Product product[kHalves] = {Product(_mm256_loadu_si256(w)),
                                        Product(_mm256_loadu_si256(w + 1))};
      const Places<kWindows> places[kHalves] = {Places<kWindows>(columns),
                                                Places<kWindows>(columns + kSlotBytes / kHalves)};
      // One address reaches all frames: no instructions are spent on the others.
      const std::byte* first = held(codes + p.first_column<kReach>(slot));
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) {
        const std::byte* window = first + (f == 3 ? three_strides : f * stride);
        CONFPRESS_UNROLL
        for (int h = 0; h < kHalves; ++h) product[h].add(sums[f][h], places[h].in(window));
      }
    }
    finish<avx2::Lanes>(p, sums, frame, row);
  }

  template <SlotReach kReach, int kFrames>
  static void tile_of(const LinearSparseProblem& p, Range frames, size_t strip) {
    if constexpr (kFrames > 1) {
      if (frames.end - frames.begin < kFrames)
        return tile_of<kReach, kFrames - 1>(p, frames, strip);
    }
    tile<kReach, kFrames>(p, frames.begin, strip);
  }

  template <SlotReach kReach>
  static void multiply_as(const LinearSparseProblem& p, Range frames, Range strips) {
    const Parts tiles = cut(frames, ceil_div(frames.end - frames.begin, kTileFrames));
    for (size_t strip = strips.begin; strip < strips.end; ++strip) {
      for (size_t i = 0; i < tiles.count; ++i) {
        tile_of<kReach, kTileFrames>(p, part(tiles, i), strip);
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

// Sparse weights in registers of 32 bytes, for the `*_avx*.cc` files: 4 frames x 1 strip. vpshufb
// gathers four of 16 columns of a frame for each of 8 rows.
#pragma once

#include "lanes/lanes_avx2.h"
#include "sparse/sparse_codes.h"
#include "sparse/sparse_weights.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress {

// Product is a type of the including file's own, so that no file runs code that was compiled for
// another's instruction set:
//   Product(w)     half a slot's weights
//   add(sums, x)   adds the products of the codes x, four to each of the sums
template <class Product>
struct SparseAvx2Tiles {
  static constexpr int kTileFrames = 4;
  static constexpr size_t kLanes = avx2::Lanes::kWidth;
  static constexpr int kHalves = kStripRows / kLanes;

  static __m256i window_at(const std::byte* codes) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
  }

  // The columns of half a strip's slot, for look-ups in so many windows.
  template <int kWindows>
  class Places {
   public:
    explicit Places(const uint8_t* columns) {
      const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(columns));
      if constexpr (kWindows == 1) {
        of_[0] = all;  // a look-up reads the lowest four bits
      } else if constexpr (kWindows == 2) {
        // The first two of four are in the first window; elsewhere bit 7 asks for a zero.
        of_[0] = _mm256_or_si256(all, _mm256_set1_epi32(static_cast<int>(0x80800000)));
        of_[1] = _mm256_or_si256(all, _mm256_set1_epi32(0x8080));
      } else {
        CONFPRESS_UNROLL
        for (int i = 0; i < kWindows; ++i) {
          // In its own window a column is 0..15, and 0x70 more; elsewhere bit 7 asks for a zero.
          const __m256i own = _mm256_xor_si256(all, _mm256_set1_epi8(static_cast<char>(16 * i)));
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

  // Adds to a tile's sums the products of a strip.
  template <SlotReach kReach, int kFrames, class Codes>
  [[gnu::always_inline]] static void add_slots(const SparseWeights& w, size_t strip,
                                               const Codes& codes,
                                               __m256i (&sums)[kFrames][kHalves]) {
    constexpr int kWindows = windows_of(kReach);
    const int8_t* weights = w.weights + strip * w.strip_bytes();
    const uint8_t* columns = w.columns + strip * w.strip_bytes();
    const size_t slots = w.slots;
#pragma GCC unroll 2
    for (size_t slot = 0; slot < slots; ++slot, weights += kSlotBytes, columns += kSlotBytes) {
      const __m256i* of_slot = reinterpret_cast<const __m256i*>(weights);
      const Product product[kHalves] = {Product(_mm256_loadu_si256(of_slot)),
                                        Product(_mm256_loadu_si256(of_slot + 1))};
      const Places<kWindows> places[kHalves] = {Places<kWindows>(columns),
                                                Places<kWindows>(columns + kSlotBytes / kHalves)};
      const auto from = codes.near(w.first_column<kReach>(slot));
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) {
        CONFPRESS_UNROLL
        for (int h = 0; h < kHalves; ++h) product[h].add(sums[f][h], places[h].in(from[f]));
      }
    }
  }

  // Tiles has tile<kReach, kFrames>(p, frame, strip), which computes y for so many frames and a
  // strip.
  template <class Tiles, SlotReach kReach, int kFrames, class Problem>
  static void tile_of(const Problem& p, Range frames, size_t strip) {
    if constexpr (kFrames > 1) {
      if (frames.end - frames.begin < kFrames)
        return tile_of<Tiles, kReach, kFrames - 1>(p, frames, strip);
    }
    Tiles::template tile<kReach, kFrames>(p, frames.begin, strip);
  }

  template <class Tiles, SlotReach kReach, class Problem>
  static void multiply_as(const Problem& p, Range frames, Range strips) {
    const Parts tiles = cut(frames, ceil_div(frames.end - frames.begin, kTileFrames));
    for (size_t strip = strips.begin; strip < strips.end; ++strip) {
      for (size_t i = 0; i < tiles.count; ++i) {
        tile_of<Tiles, kReach, kTileFrames>(p, part(tiles, i), strip);
      }
    }
  }

  template <class Tiles, class Problem>
  static void multiply(SlotReach reach, const Problem& p, Range frames, Range strips) {
    switch (reach) {
      case SlotReach::kWindow:
        return multiply_as<Tiles, SlotReach::kWindow>(p, frames, strips);
      case SlotReach::kPair:
        return multiply_as<Tiles, SlotReach::kPair>(p, frames, strips);
      case SlotReach::kBlock:
        return multiply_as<Tiles, SlotReach::kBlock>(p, frames, strips);
    }
  }
};

}  // namespace confpress

#undef CONFPRESS_UNROLL

// Slots of sparse weights where the processor has VNNI without VBMI: vpshufb looks up in 16 bytes,
// for each of 16 rows four of 16 columns of a frame.
//
// Where a slot's columns lie in two windows (2:16), one look-up serves two strips: bytes 0-1 of a
// lane for the first, 2-3 for the second, and a blend with the other window's look-up puts the four
// bytes of each strip together. That is two look-ups for 128 products instead of four.
#pragma once

#include "sparse/sparse_tile_avx512.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress::avx512 {

// Looks up in one window.
struct WindowLookUp {
  static constexpr SlotReach kReach = SlotReach::kWindow;

  CONFPRESS_INLINE static __m512i table_at(const std::byte* codes) {
    __m512i window;
    __asm__ volatile("vbroadcasti32x4 %1, %0"
                     : "=v"(window)
                     : "m"(*reinterpret_cast<const __m128i*>(codes)));
    return window;
  }
  CONFPRESS_INLINE static __m512i in(__m512i window, __m512i places) {
    __m512i codes;
    __asm__ volatile("vpshufb %2, %1, %0" : "=v"(codes) : "v"(window), "v"(places));
    return codes;
  }
  // The bytes of `codes`, and where the mask says so those that the window has at the places.
  CONFPRESS_INLINE static __m512i in(__m512i window, __m512i places, __mmask64 mask,
                                     __m512i codes) {
    __asm__ volatile("vpshufb %2, %1, %0 %{%3%}"
                     : "+v"(codes)
                     : "v"(window), "v"(places), "Yk"(mask));
    return codes;
  }
};

CONFPRESS_INLINE __m512i window_at(const std::byte* codes, int window) {
  return WindowLookUp::table_at(codes + window * kWindowColumns);
}

// One strip whose slots reach further than a window: one look-up for every window, each for the
// bytes whose columns lie in it.
template <SlotReach kReachOfSlot, int kWindows>
struct WideSlot {
  static constexpr SlotReach kReach = kReachOfSlot;
  static constexpr int kStrips = 1;
  __m512i weights;
  __m512i places;
  __mmask64 in[kWindows];

  CONFPRESS_INLINE void read_weights(const Strips& strips) { weights = strips.weights_of(0); }
  template <class Tile>
  CONFPRESS_INLINE void find(Tile& t, int i, const std::byte* codes) const {
    __m512i found = WindowLookUp::in(window_at(codes, 0), places);
    CONFPRESS_UNROLL
    for (int w = 1; w < kWindows; ++w) {
      found = WindowLookUp::in(window_at(codes, w), places, in[w], found);
    }
    t.found[i][0] = found;
  }
  template <class Tile>
  CONFPRESS_INLINE void add(Tile& t, int frame, int i) const {
    add_products(t.sums[frame][0], t.found[i][0], weights);
  }
  template <class Tile>
  CONFPRESS_INLINE void add_and_find(Tile& t, int frame, int i, const std::byte* codes) const {
    add(t, frame, i);
    find(t, i, codes);
  }
};

struct LastPairSlot : WideSlot<SlotReach::kPair, 2> {
  CONFPRESS_INLINE void read_columns(const Strips& strips) {
    places = strips.columns_of(0);
    in[1] = 0xccccccccccccccccu;
  }
};

struct BlockSlot : WideSlot<SlotReach::kBlock, kWindowsOfBlock> {
  CONFPRESS_INLINE void read_columns(const Strips& strips) {
    places = strips.columns_of(0);
    // A look-up reads the lowest four bits; the next two name the window.
    const __m512i windows = _mm512_and_si512(places, _mm512_set1_epi8(0x30));
    CONFPRESS_UNROLL
    for (int w = 1; w < static_cast<int>(kWindowsOfBlock); ++w) {
      in[w] = _mm512_cmpeq_epi8_mask(windows, _mm512_set1_epi8(static_cast<char>(16 * w)));
    }
  }
};

// Two strips of which each has two columns in a window and two in the next.
struct PairSlot {
  static constexpr SlotReach kReach = SlotReach::kPair;
  static constexpr int kStrips = 2;
  static constexpr __mmask32 kUpper = 0xaaaaaaaau;  // the second two bytes of every lane
  __m512i weights[2];                               // the second strip's with its pairs swapped
  __m512i places[2];                                // of the windows, not of the strips

  CONFPRESS_INLINE void read_columns(const Strips& strips) {
    const __m512i first = strips.columns_of(0);
    const __m512i second = strips.columns_of(1);
    places[0] = _mm512_mask_blend_epi16(kUpper, first, _mm512_slli_epi32(second, 16));
    places[1] = _mm512_mask_blend_epi16(kUpper, _mm512_srli_epi32(second, 16), first);
  }
  CONFPRESS_INLINE void read_weights(const Strips& strips) {
    weights[0] = strips.weights_of(0);
    weights[1] = _mm512_rol_epi32(strips.weights_of(1), 16);
  }
  template <class Tile>
  CONFPRESS_INLINE void find(Tile& t, int i, const std::byte* codes) const {
    CONFPRESS_UNROLL
    for (int w = 0; w < 2; ++w) {
      t.found[i][w] = WindowLookUp::in(window_at(codes, w), places[w]);
    }
  }
  template <class Tile>
  CONFPRESS_INLINE void add(Tile& t, int frame, int i) const {
    const __m512i lower = t.found[i][0];
    const __m512i upper = t.found[i][1];
    add_products(t.sums[frame][0], _mm512_mask_blend_epi16(kUpper, lower, upper), weights[0]);
    add_products(t.sums[frame][1], _mm512_mask_blend_epi16(kUpper, upper, lower), weights[1]);
  }
  template <class Tile>
  CONFPRESS_INLINE void add_and_find(Tile& t, int frame, int i, const std::byte* codes) const {
    add(t, frame, i);
    find(t, i, codes);
  }
};

// Computes y with the slots that the columns allow.
template <class Tiles, class Problem>
void multiply_by_reach(SlotReach reach, const Problem& p, Range frames, Range strips) {
  switch (reach) {
    case SlotReach::kWindow:
      return multiply_sparse<Tiles, DirectSlot<WindowLookUp, 2>, DirectSlot<WindowLookUp, 1>>(
          p, frames, strips);
    case SlotReach::kPair:
      return multiply_sparse<Tiles, PairSlot, LastPairSlot>(p, frames, strips);
    case SlotReach::kBlock:
      return multiply_sparse<Tiles, BlockSlot, BlockSlot>(p, frames, strips);
  }
}

}  // namespace confpress::avx512

#undef CONFPRESS_UNROLL

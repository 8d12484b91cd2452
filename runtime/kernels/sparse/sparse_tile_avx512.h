// 8 frames x 2 strips of sparse weights with AVX-512 VNNI, for the `*_avx512*.cc` files. Look-ups
// gather for each of 16 rows four codes of a frame; vpdpbusd multiplies them
// with the slot's 64 weights. Both strips of a tile share a frame's codes.
//
// Look-ups run on port 5 only, vpdpbusd on ports 0 and 5, and the processor gives an instruction
// its port when it enters the scheduler, guessing: products that wait for their look-up take port 5
// from other look-ups. So the products of half a tile's frames are issued between the look-ups of
// the other half, whose operands are ready: 1.0 look-ups a cycle instead of 0.84.
//
// Templates take a type of the including file's own, so that no file runs code that was compiled
// for another's instruction set.
#pragma once

#include <immintrin.h>

#include "sparse/sparse_codes.h"
#include "sparse/sparse_weights.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")
#define CONFPRESS_INLINE [[gnu::always_inline]] inline

namespace confpress::avx512 {

constexpr int kSparseTileFrames = 8;
constexpr int kSparseTileStrips = 2;

// Assembly, and volatile like the look-ups, to stand in the order in which it is written. Besides,
// GCC 12 copies every accumulator around the intrinsic of vpdpbusd.
CONFPRESS_INLINE void add_products(__m512i& sums, __m512i codes, __m512i weights) {
  __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(codes), "v"(weights));
}

// Where a tile's strips stand in W and in columns; both move on slot by slot.
struct Strips {
  const int8_t* weights;
  const uint8_t* columns;
  size_t strip_bytes;

  CONFPRESS_INLINE __m512i weights_of(int strip) const {
    return _mm512_loadu_si512(weights + strip * strip_bytes);
  }
  CONFPRESS_INLINE __m512i columns_of(int strip) const {
    return _mm512_loadu_si512(columns + strip * strip_bytes);
  }
};

template <int kFrames, int kStrips>
struct SparseTile {
  static constexpr int kNear = (kFrames + 1) / 2;  // frames of the first half
  static constexpr int kFar = kFrames - kNear;
  explicit SparseTile(__m512i (&tile_sums)[kFrames][kStrips]) : sums(tile_sums) {}
  __m512i (&sums)[kFrames][kStrips];
  __m512i found[kNear][kStrips];  // by look-ups for a frame of either half
};

// A slot of all strips of a tile whose columns one look-up reaches. Every kind of slot has these:
//   kReach, kStrips
//   read_columns(strips), read_weights(strips)
//   find(t, i, codes)                 looks the slot's columns up in a frame's codes: found[i]
//   add(t, frame, i)                  adds the products of found[i] to a frame's sums
//   add_and_find(t, frame, i, codes)  adds what was found before, then finds
// LookUp has the reach, table_at(codes), and in(table, places).
template <class LookUp, int kStripsOfTile>
struct DirectSlot {
  static constexpr SlotReach kReach = LookUp::kReach;
  static constexpr int kStrips = kStripsOfTile;
  __m512i weights[kStrips];
  __m512i places[kStrips];

  CONFPRESS_INLINE void read_columns(const Strips& strips) {
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) places[s] = strips.columns_of(s);
  }
  CONFPRESS_INLINE void read_weights(const Strips& strips) {
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) weights[s] = strips.weights_of(s);
  }
  template <class Tile>
  CONFPRESS_INLINE void find(Tile& t, int i, const std::byte* codes) const {
    const __m512i table = LookUp::table_at(codes);
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) t.found[i][s] = LookUp::in(table, places[s]);
  }
  template <class Tile>
  CONFPRESS_INLINE void add(Tile& t, int frame, int i) const {
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) add_products(t.sums[frame][s], t.found[i][s], weights[s]);
  }
  template <class Tile>
  CONFPRESS_INLINE void add_and_find(Tile& t, int frame, int i, const std::byte* codes) const {
    const __m512i table = LookUp::table_at(codes);
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) {
      add_products(t.sums[frame][s], t.found[i][s], weights[s]);
      t.found[i][s] = LookUp::in(table, places[s]);
    }
  }
};

// Adds what was found for the first half of the frames, and finds for the second.
template <class Tile, class Slot, class Half>
CONFPRESS_INLINE void add_near(Tile& t, const Slot& slot, const Half& far) {
  CONFPRESS_UNROLL
  for (int f = 0; f < Tile::kFar; ++f) slot.add_and_find(t, f, f, far[f]);
  if (Tile::kFar < Tile::kNear) slot.add(t, Tile::kFar, Tile::kFar);
}

// Adds what was found for the second half of the frames, and finds the next slot's for the first.
// The weights are still those of the slot before.
template <class Tile, class Slot, class Half>
CONFPRESS_INLINE void add_far(Tile& t, const Slot& slot, const Half& near) {
  CONFPRESS_UNROLL
  for (int f = 0; f < Tile::kFar; ++f) slot.add_and_find(t, Tile::kNear + f, f, near[f]);
  if (Tile::kFar < Tile::kNear) slot.find(t, Tile::kFar, near[Tile::kFar]);
}

// Adds to a tile's sums the products of some strips from `strip` on.
template <class Slot, int kFrames, class Codes>
CONFPRESS_INLINE void add_slots(const SparseWeights& w, size_t strip, const Codes& codes,
                                __m512i (&sums)[kFrames][Slot::kStrips]) {
  using Tile = SparseTile<kFrames, Slot::kStrips>;
  Tile t(sums);
  const size_t strip_bytes = w.strip_bytes();
  Strips strips{w.weights + strip * strip_bytes, w.columns + strip * strip_bytes, strip_bytes};
  Slot slot;
  slot.read_columns(strips);
  auto near = codes.near(w.first_column<Slot::kReach>(0));
  CONFPRESS_UNROLL
  for (int f = 0; f < Tile::kNear; ++f) slot.find(t, f, near[f]);
  const size_t last = w.slots - 1;
  for (size_t i = 0; i < last; ++i) {
    slot.read_weights(strips);
    add_near(t, slot, codes.template far<Tile::kNear>(near));
    strips.weights += kSlotBytes;
    strips.columns += kSlotBytes;
    slot.read_columns(strips);
    near = codes.near(w.first_column<Slot::kReach>(i + 1));
    add_far(t, slot, near);
  }
  slot.read_weights(strips);
  add_near(t, slot, codes.template far<Tile::kNear>(near));
  CONFPRESS_UNROLL
  for (int f = 0; f < Tile::kFar; ++f) slot.add(t, Tile::kNear + f, f);
}

// Tiles has tile<Slot, kFrames>(p, frame, strip), which computes y for so many frames and the
// slot's strips.
template <class Tiles, class Slot, int kFrames, class Problem>
void tile_of(const Problem& p, size_t count, size_t frame, size_t strip) {
  if constexpr (kFrames > 1) {
    if (count < kFrames) return tile_of<Tiles, Slot, kFrames - 1>(p, count, frame, strip);
  }
  Tiles::template tile<Slot, kFrames>(p, frame, strip);
}

// Computes as many of the strips as the slot's tiles take whole; the first that is left.
template <class Tiles, class Slot, class Problem>
size_t multiply_whole(const Problem& p, Range frames, Range strips) {
  const Parts tiles = cut(frames, ceil_div(frames.end - frames.begin, kSparseTileFrames));
  size_t strip = strips.begin;
  for (; strip + Slot::kStrips <= strips.end; strip += Slot::kStrips) {
    for (size_t i = 0; i < tiles.count; ++i) {
      const Range range = part(tiles, i);
      tile_of<Tiles, Slot, kSparseTileFrames>(p, range.end - range.begin, range.begin, strip);
    }
  }
  return strip;
}

// With a slot of two strips, and one for a last strip.
template <class Tiles, class Slot, class LastSlot, class Problem>
void multiply_sparse(const Problem& p, Range frames, Range strips) {
  const size_t rest = multiply_whole<Tiles, Slot>(p, frames, strips);
  multiply_whole<Tiles, LastSlot>(p, frames, {rest, strips.end});
}

}  // namespace confpress::avx512

#undef CONFPRESS_UNROLL

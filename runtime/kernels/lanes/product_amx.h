// The product of one or two tiles of codes and one or two strips of weights, for the `*_amx.cc`
// files. Packed weights are what a tile register holds: 16 groups of 4 columns of a strip are 16
// rows of 64 bytes. Everything is `static` or in an unnamed namespace, as in ranges.h.
#pragma once

#include <type_traits>

#include "base/ranges.h"
#include "lanes/tiles_amx.h"

#define CONFPRESS_INLINE [[gnu::always_inline]] static inline

namespace confpress::amx {

constexpr size_t kPair = 2;
constexpr size_t kLanes = kTileBytes / sizeof(int32_t);
constexpr size_t kTileSize = kTileRows * kTileBytes;

struct Int8Dot {
  template <int kSums, int kLeft, int kRight>
  CONFPRESS_INLINE void add() {
    add_products<kSums, kLeft, kRight>();
  }
};

struct BFloat16Dot {
  template <int kSums, int kLeft, int kRight>
  CONFPRESS_INLINE void add() {
    add_bfloat16_products<kSums, kLeft, kRight>();
  }
};

// Sums are in registers 0 to 3, the left operand (codes) in 4 and 5, the right (weights) in 6
// and 7.
template <size_t kLeft, size_t kRight, class Dot = Int8Dot>
struct Product {
  static_assert(kLeft >= 1 && kLeft <= kPair && kRight >= 1 && kRight <= kPair);
  static constexpr bool kBelow = kLeft == kPair;
  static constexpr bool kBeside = kRight == kPair;

  // What the sums of every row start with: [strips, 16].
  template <class Sum>
  CONFPRESS_INLINE void start(const Sum* sums) {
    load<0>(sums, 0);
    if constexpr (kBeside) load<1>(sums + kLanes, 0);
    if constexpr (kBelow) load<2>(sums, 0);
    if constexpr (kBelow && kBeside) load<3>(sums + kLanes, 0);
  }

  // Adds the products of 64 bytes of every row of the left operand, `stride` bytes apart.
  template <class Left, class Right>
  CONFPRESS_INLINE void add(const Left* const (&left)[kLeft], size_t stride,
                            const Right* const (&right)[kRight]) {
    load<4>(left[0], stride);
    load<6>(right[0], kTileBytes);
    Dot::template add<0, 4, 6>();
    if constexpr (kBeside) {
      load<7>(right[1], kTileBytes);
      Dot::template add<1, 4, 7>();
    }
    if constexpr (kBelow) {
      load<5>(left[1], stride);
      Dot::template add<2, 5, 6>();
      if constexpr (kBeside) Dot::template add<3, 5, 7>();
    }
  }

  // Sums of each, [16, 16], from memory and to it; rows `stride` bytes apart.
  template <class Sum>
  CONFPRESS_INLINE void resume(const Sum* const (&from)[kLeft][kRight], size_t stride) {
    load<0>(from[0][0], stride);
    if constexpr (kBeside) load<1>(from[0][1], stride);
    if constexpr (kBelow) load<2>(from[1][0], stride);
    if constexpr (kBelow && kBeside) load<3>(from[1][1], stride);
  }
  template <class Sum>
  CONFPRESS_INLINE void store(Sum* const (&to)[kLeft][kRight], size_t stride = kTileBytes) {
    amx::store<0>(to[0][0], stride);
    if constexpr (kBeside) amx::store<1>(to[0][1], stride);
    if constexpr (kBelow) amx::store<2>(to[1][0], stride);
    if constexpr (kBelow && kBeside) amx::store<3>(to[1][1], stride);
  }
};

// Rows in tiles of one height: where they do not divide the rows, the last begins before the one in
// front of it ends, and computes the same again.
struct EqualTiles {
  size_t begin;
  size_t count;
  size_t height;
  size_t last;

  // As low as they may be.
  explicit EqualTiles(Range rows)
      : EqualTiles(rows,
                   ceil_div(rows.end - rows.begin, ceil_div(rows.end - rows.begin, kTileRows))) {}
  // Not more rows high than there are.
  EqualTiles(Range rows, size_t tile_height)
      : begin(rows.begin),
        count(ceil_div(rows.end - rows.begin, tile_height)),
        height(tile_height),
        last(rows.end - tile_height) {}
  size_t operator[](size_t i) const {
    const size_t first = begin + i * height;
    return first < last ? first : last;
  }
};

template <size_t kCount>
using Count = std::integral_constant<size_t, kCount>;

// Calls visit(first, how many of them), for pairs and for one that is left.
template <class Visit>
CONFPRESS_INLINE void by_pairs(Range range, const Visit& visit) {
  size_t i = range.begin;
  for (; i + kPair <= range.end; i += kPair) visit(i, Count<kPair>{});
  if (i < range.end) visit(i, Count<1>{});
}

}  // namespace confpress::amx

#undef CONFPRESS_INLINE

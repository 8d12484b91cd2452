// Products of float matrices in tiles of registers, on any Lanes.
//
// The right operand is packed: strips of kWidth columns, in a strip one row after the other.
#pragma once

#include <cstddef>

#include "base/ranges.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress {

// Of operands of any type; strides are counted in elements.
template <class Element>
struct StripProduct {
  const Element* a;  // [rows, depth]
  size_t a_stride;
  const Element* b;  // strips of [depth, kWidth]
  size_t b_strip_stride;
  size_t depth;
  float* c;  // [rows, strips * kWidth]
  size_t c_stride;
};
using FloatProduct = StripProduct<float>;

// C += A B if kAdd, else C = A B; one tile.
template <class L, int kRows, int kStrips, bool kAdd>
static inline void float_tile(const FloatProduct& p, size_t row, size_t strip) {
  using Vec = typename L::Vec;
  const float* a = p.a + row * p.a_stride;
  const float* b = p.b + strip * p.b_strip_stride;
  float* c = p.c + row * p.c_stride + strip * L::kWidth;
  Vec sums[kRows][kStrips];
  CONFPRESS_UNROLL
  for (int r = 0; r < kRows; ++r) {
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) {
      sums[r][s] = kAdd ? L::load(c + r * p.c_stride + s * L::kWidth) : L::zero();
    }
  }
  for (size_t i = 0; i < p.depth; ++i) {
    Vec right[kStrips];
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) {
      right[s] = L::load(b + s * p.b_strip_stride + i * L::kWidth);
    }
    CONFPRESS_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Vec left = L::all(a[r * p.a_stride + i]);
      CONFPRESS_UNROLL
      for (int s = 0; s < kStrips; ++s) sums[r][s] = L::fma(left, right[s], sums[r][s]);
    }
  }
  CONFPRESS_UNROLL
  for (int r = 0; r < kRows; ++r) {
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) L::store(c + r * p.c_stride + s * L::kWidth, sums[r][s]);
  }
}

// All rows of one column of tiles; `count` rows remain where the tiles do not fit.
template <class L, int kRows, int kStrips, bool kAdd>
static inline void float_rows(const FloatProduct& p, size_t row, size_t count, size_t strip) {
  if constexpr (kRows > 0) {
    for (; count >= kRows; row += kRows, count -= kRows) {
      float_tile<L, kRows, kStrips, kAdd>(p, row, strip);
    }
    float_rows<L, kRows - 1, kStrips, kAdd>(p, row, count, strip);
  }
}

template <class L, int kStrips, bool kAdd>
static inline void float_strips(const FloatProduct& p, size_t rows, size_t strip, size_t count) {
  if constexpr (kStrips > 0) {
    for (; count >= kStrips; strip += kStrips, count -= kStrips) {
      float_rows<L, L::kTileRows, kStrips, kAdd>(p, 0, rows, strip);
    }
    float_strips<L, kStrips - 1, kAdd>(p, rows, strip, count);
  }
}

// The whole product of `rows` rows and `strips` strips.
template <class L, bool kAdd>
static inline void float_product(const FloatProduct& p, size_t rows, size_t strips) {
  float_strips<L, L::kTileStrips, kAdd>(p, rows, 0, strips);
}

// Packs `rows` x `columns` floats so that the rows become the columns of a right operand:
// strips of kWidth rows, [columns, kWidth] each, zeros beyond the last row.
template <class L>
static inline void pack_turned(const float* in, size_t stride, size_t rows, size_t columns,
                               float* out) {
  for (size_t row = 0; row < rows; row += 4) {
    float* strip = out + row / L::kWidth * L::kWidth * columns + row % L::kWidth;
    size_t column = 0;
    if (row + 4 <= rows) {
      for (; column + 4 <= columns; column += 4) {
        L::transpose4(in + row * stride + column, stride, strip + column * L::kWidth, L::kWidth);
      }
    }
    for (; column < columns; ++column) {
      for (size_t r = 0; r < 4; ++r) {
        strip[column * L::kWidth + r] = row + r < rows ? in[(row + r) * stride + column] : 0.0f;
      }
    }
  }
  for (size_t row = ceil_div(rows, 4) * 4; row % L::kWidth != 0; row += 4) {
    float* strip = out + row / L::kWidth * L::kWidth * columns + row % L::kWidth;
    for (size_t column = 0; column < columns; ++column) {
      for (size_t r = 0; r < 4; ++r) strip[column * L::kWidth + r] = 0.0f;
    }
  }
}

// Packs `rows` x `columns` floats as a right operand: strips of kWidth columns, zeros beyond the
// last.
template <class L>
static inline void pack_straight(const float* in, size_t stride, size_t rows, size_t columns,
                                 float* out) {
  for (size_t column = 0; column < columns; column += L::kWidth) {
    for (size_t row = 0; row < rows; ++row, out += L::kWidth) {
      L::store(out, L::load(in + row * stride + column, columns - column));
    }
  }
}

}  // namespace confpress

#undef CONFPRESS_UNROLL

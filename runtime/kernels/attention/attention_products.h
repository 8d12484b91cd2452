// The products of attention on any Lanes, in float32, and with operands that are rounded to
// bfloat16 first. Every kind of products has these; operands are counted in their own elements:
//   Lanes, Left, Right       of floats, and what the left and the packed right operand consist of
//   kQueryBlock              queries that are computed at once
//   kKeyStep                 blocks of keys begin at multiples of this
//   Scope                    lives while a block is computed
//   left_stride(depth)       from one row of a left operand to the next
//   store_left(p, x)         writes a register of a left operand
//   turned_size(rows, depth), turned_at(row, depth)
//                            of a right operand whose columns are rows in memory, and where the
//                            columns from `row` on begin, a multiple of kWidth
//   straight_size(depth, columns), straight_at(row)
//                            of a right operand as it lies in memory, and where the rows from `row`
//                            on begin, a multiple of kKeyStep
//   turned_strip(depth), straight_strip(depth)
//                            from one strip of columns to the next
//   pack_turned, pack_straight
//   multiply<kAdd>(product, rows, strips)
//   row_of(p, row, depth)    of a strip of a straight operand, as floats
#pragma once

#include "lanes/float_tile.h"

namespace confpress {

template <class L>
struct FloatProducts {
  using Lanes = L;
  using Left = float;
  using Right = float;
  struct Scope {};
  static constexpr size_t kQueryBlock = 24;
  static constexpr size_t kKeyStep = L::kWidth;

  static size_t left_stride(size_t depth) { return ceil_div(depth, L::kWidth) * L::kWidth; }
  static void store_left(float* p, typename L::Vec x) { L::store(p, x); }

  static size_t turned_size(size_t rows, size_t depth) {
    return ceil_div(rows, L::kWidth) * L::kWidth * depth;
  }
  static size_t turned_at(size_t row, size_t depth) { return row * depth; }
  static size_t turned_strip(size_t depth) { return depth * L::kWidth; }
  static size_t straight_size(size_t depth, size_t columns) {
    return ceil_div(columns, L::kWidth) * L::kWidth * depth;
  }
  static size_t straight_at(size_t row) { return row * L::kWidth; }
  static size_t straight_strip(size_t depth) { return depth * L::kWidth; }

  static void pack_turned(const float* in, size_t stride, size_t rows, size_t depth, float* out) {
    confpress::pack_turned<L>(in, stride, rows, depth, out);
  }
  static void pack_straight(const float* in, size_t stride, size_t depth, size_t columns,
                            float* out) {
    confpress::pack_straight<L>(in, stride, depth, columns, out);
  }

  template <bool kAdd>
  static void multiply(const FloatProduct& product, size_t rows, size_t strips) {
    float_product<L, kAdd>(product, rows, strips);
  }
  static typename L::Vec row_of(const float* strip, size_t row) {
    return L::load(strip + row * L::kWidth);
  }
};

// The same numbers as a processor's own products of bfloat16, whose sums are float32.
template <class L>
struct RoundedProducts : FloatProducts<L> {
  using Base = FloatProducts<L>;

  static void store_left(float* p, typename L::Vec x) { L::store(p, L::bfloat16(x)); }
  static void pack_turned(const float* in, size_t stride, size_t rows, size_t depth, float* out) {
    Base::pack_turned(in, stride, rows, depth, out);
    round(out, Base::turned_size(rows, depth));
  }
  static void pack_straight(const float* in, size_t stride, size_t depth, size_t columns,
                            float* out) {
    Base::pack_straight(in, stride, depth, columns, out);
    round(out, Base::straight_size(depth, columns));
  }

 private:
  static void round(float* values, size_t size) {
    for (size_t i = 0; i < size; i += L::kWidth) {
      L::store(values + i, L::bfloat16(L::load(values + i)));
    }
  }
};

}  // namespace confpress

// The products of attention on any Lanes, in float32, and with operands that are rounded to
// bfloat16 first. Packed right operands are strips of kWidth columns. Every kind of products has:
//   Lanes, Operand           of floats, and what both operands consist of
//   kQueryBlock              queries that are computed at once
//   kDepthStep               rows of a left operand end in zeros up to a multiple of this, and
//                            blocks of keys begin at one
//   Scope                    lives while a block is computed
//   store_left(p, x)         writes a register of a left operand
//   strip_size(depth)        of a strip, in elements
//   pack_turned, pack_straight
//                            a right operand whose columns are rows in memory, and one that lies
//                            in memory as it is
//   multiply<kAdd>(product, rows, strips)
//   row_of(strip, row)       of a strip, as floats
#pragma once

#include "lanes/float_tile.h"

namespace confpress {

template <class L>
struct FloatProducts {
  using Lanes = L;
  using Operand = float;
  struct Scope {};
  static constexpr size_t kQueryBlock = 24;
  static constexpr size_t kDepthStep = L::kWidth;

  static void store_left(float* p, typename L::Vec x) { L::store(p, x); }
  static size_t strip_size(size_t depth) { return depth * L::kWidth; }

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
    round(out, rows, depth);
  }
  static void pack_straight(const float* in, size_t stride, size_t depth, size_t columns,
                            float* out) {
    Base::pack_straight(in, stride, depth, columns, out);
    round(out, columns, depth);
  }

 private:
  static void round(float* values, size_t columns, size_t depth) {
    const size_t size = ceil_div(columns, L::kWidth) * Base::strip_size(depth);
    for (size_t i = 0; i < size; i += L::kWidth) {
      L::store(values + i, L::bfloat16(L::load(values + i)));
    }
  }
};

}  // namespace confpress

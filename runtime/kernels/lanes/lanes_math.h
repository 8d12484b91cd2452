// Functions of many floats on any Lanes: see lanes_portable.h.
#pragma once

#include <cstddef>

#include "lanes/activation.h"

namespace confpress {

// Functions of several registers do each step for all of them: one register's steps depend on each
// other, and the processor would wait for them.
#define CONFPRESS_EACH(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < n; ++i)

// The polynomial with these coefficients, highest power first.
template <class L, int n, size_t kTerms>
static inline void polynomial(const typename L::Vec (&x)[n], const float (&coefficients)[kTerms],
                              typename L::Vec (&out)[n]) {
  CONFPRESS_EACH(i, n) out[i] = L::all(coefficients[0]);
#pragma GCC unroll 8
  for (size_t term = 1; term < kTerms; ++term) {
    CONFPRESS_EACH(i, n) out[i] = L::fma(out[i], x[i], L::all(coefficients[term]));
  }
}

// exp(x) = 2^(x · log2_base), with log2_base ±kLog2E, for x in [-87, 87]; NaN stays NaN.
template <class L, int n>
static inline void exp_of_bounded(typename L::Vec (&x)[n], float log2_base) {
  using Vec = typename L::Vec;
  const Vec scale = L::all(log2_base);
  const Vec shift = L::all(kRoundingShift);
  Vec shifted[n];
  Vec r[n];
  CONFPRESS_EACH(i, n) shifted[i] = L::fma(x[i], scale, shift);
  CONFPRESS_EACH(i, n) r[i] = L::sub(shifted[i], shift);
  CONFPRESS_EACH(i, n) r[i] = L::fms(x[i], scale, r[i]);
  polynomial<L>(r, kExp2, x);
  CONFPRESS_EACH(i, n) x[i] = L::power_of_two(x[i], shifted[i]);
}

// x within ±bound; NaN stays NaN.
template <class L>
static inline typename L::Vec bounded(typename L::Vec x, float bound) {
  return L::min(L::all(bound), L::max(L::all(-bound), x));
}

// exp(x) for x in [-87, 87]; less than -87 is taken as -87 and NaN stays NaN.
template <class L>
static inline typename L::Vec exp_of(typename L::Vec x) {
  typename L::Vec values[1] = {bounded<L>(x, kSiluBound)};
  exp_of_bounded<L>(values, kLog2E);
  return values[0];
}

// 1 / (1 + exp(-x)).
template <class L>
static inline typename L::Vec sigmoid_of(typename L::Vec x) {
  const typename L::Vec one = L::all(1.0f);
  return L::div(one, L::add(one, exp_of<L>(L::sub(L::zero(), x))));
}

}  // namespace confpress

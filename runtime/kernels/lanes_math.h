// Functions of many floats on any Lanes: see lanes_portable.h.
#pragma once

#include "activation.h"

namespace confpress {

// exp(x) for x in [-87, 87]; less than -87 is taken as -87 and NaN stays NaN.
template <class L>
static inline typename L::Vec exp_of(typename L::Vec x) {
  using Vec = typename L::Vec;
  const Vec bounded = L::min(L::all(kSiluBound), L::max(L::all(-kSiluBound), x));
  const Vec shift = L::all(kRoundingShift);
  const Vec shifted = L::fma(bounded, L::all(kLog2E), shift);
  const Vec n = L::sub(shifted, shift);
  const Vec r = L::fma(bounded, L::all(kLog2E), L::sub(L::zero(), n));
  Vec p = L::all(kExp2[0]);
#pragma GCC unroll 5
  for (int i = 1; i < 6; ++i) p = L::fma(p, r, L::all(kExp2[i]));
  return L::power_of_two(p, shifted);
}

// 1 / (1 + exp(-x)).
template <class L>
static inline typename L::Vec sigmoid_of(typename L::Vec x) {
  const typename L::Vec one = L::all(1.0f);
  return L::div(one, L::add(one, exp_of<L>(L::sub(L::zero(), x))));
}

}  // namespace confpress

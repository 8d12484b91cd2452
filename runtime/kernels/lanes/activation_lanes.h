// Activations on several registers of any Lanes that also has
//   reciprocal(x)      1 / x within 2e-7 of itself
//   within(x, bound)   x within ±bound; anything within ±bound for NaN
//   not_below(a, b)    lanes where a is not less than b, those of NaN too
// All but ReLU are the sigmoid of something.
#pragma once

#include "lanes/lanes_math.h"

namespace confpress {

// 1 / (1 + exp(-u)) for u in [-87, 87].
template <class L, int n>
static inline void sigmoid_of_bounded(typename L::Vec (&u)[n]) {
  exp_of_bounded<L>(u, -kLog2E);
  CONFPRESS_EACH(i, n) u[i] = L::add(L::all(1.0f), u[i]);
  CONFPRESS_EACH(i, n) u[i] = L::reciprocal(u[i]);
}

// z · sigmoid(u), and 0 where u is below -87.
template <class L, int n>
static inline void gate(typename L::Vec (&z)[n], const typename L::Vec (&u)[n]) {
  typename L::Vec s[n];
  CONFPRESS_EACH(i, n) s[i] = L::within(u[i], kSiluBound);
  sigmoid_of_bounded<L>(s);
  CONFPRESS_EACH(i, n) {
    const auto kept = L::not_below(u[i], L::all(-kSiluBound));
    z[i] = L::select(kept, L::mul(z[i], s[i]), L::zero());
  }
}

// z · sigmoid(z · P(min(z², bound))).
template <class L, int n, size_t kTerms>
static inline void gate_by(typename L::Vec (&z)[n], const float (&coefficients)[kTerms],
                           float bound) {
  typename L::Vec square[n];
  typename L::Vec u[n];
  CONFPRESS_EACH(i, n) square[i] = L::min(L::mul(z[i], z[i]), L::all(bound));
  polynomial<L>(square, coefficients, u);
  CONFPRESS_EACH(i, n) u[i] = L::mul(z[i], u[i]);
  gate<L>(z, u);
}

template <class L, int n>
static inline void activate(Activation activation, typename L::Vec (&z)[n]) {
  switch (activation) {
    case Activation::kNone:
      return;
    case Activation::kSilu:
      return gate<L>(z, z);
    case Activation::kRelu:
      // In this order NaN stays NaN.
      CONFPRESS_EACH(i, n) z[i] = L::max(L::zero(), z[i]);
      return;
    case Activation::kGelu:
      return gate_by<L>(z, kGelu, kGeluBound);
    case Activation::kGeluTanh:
      return gate_by<L>(z, kGeluTanh, kGeluTanhBound);
    case Activation::kSigmoid:
      CONFPRESS_EACH(i, n) z[i] = bounded<L>(z[i], kSiluBound);
      return sigmoid_of_bounded<L>(z);
  }
}

}  // namespace confpress

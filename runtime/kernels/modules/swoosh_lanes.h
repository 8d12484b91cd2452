// The kernel of Swoosh on any Lanes.
#pragma once

#include "lanes/lanes_math.h"
#include "modules/swoosh.h"

namespace confpress {

// log((1 + s) / (1 - s)) / s = 2 · (1 + s²/3 + s⁴/5 + ...), highest power of s² first. For s up to
// one third, what follows is below 2e-8 of it.
constexpr float kLogQuotient[] = {2.0f / 13, 2.0f / 11, 2.0f / 9, 2.0f / 7,
                                  2.0f / 5,  2.0f / 3,  2.0f};

template <class L>
class SwooshLanes {
 public:
  static void run(const SwooshProblem& p, Range elements) noexcept {
    size_t i = elements.begin;
    for (; i + kAtOnce * kWidth <= elements.end; i += kAtOnce * kWidth) {
      Vec x[kAtOnce];
      CONFPRESS_EACH(r, kAtOnce) x[r] = L::load(p.x + i + r * kWidth);
      of(p, x);
      CONFPRESS_EACH(r, kAtOnce) L::store(p.y + i + r * kWidth, x[r]);
    }
    for (; i < elements.end; i += kWidth) {
      Vec x[1] = {L::load(p.x + i, elements.end - i)};
      of(p, x);
      L::store(p.y + i, x[0], elements.end - i);
    }
  }

 private:
  using Vec = typename L::Vec;
  static constexpr size_t kWidth = L::kWidth;
  static constexpr int kAtOnce = 4;

  // max(z, 0) + log(1 + exp(-|z|)), which neither overflows nor loses small numbers.
  template <int n>
  static void of(const SwooshProblem& p, Vec (&x)[n]) {
    const Vec zero = L::zero();
    Vec z[n], share[n], squares[n], quotients[n];
    CONFPRESS_EACH(r, n) z[r] = L::sub(x[r], L::all(p.shift));
    CONFPRESS_EACH(r, n) {
      // The minimum of both signs; NaN stays NaN.
      share[r] = L::max(L::all(-kSiluBound), L::min(L::sub(zero, z[r]), z[r]));
    }
    exp_of_bounded<L>(share, kLog2E);
    CONFPRESS_EACH(r, n) share[r] = L::div(share[r], L::add(L::all(2.0f), share[r]));
    CONFPRESS_EACH(r, n) squares[r] = L::mul(share[r], share[r]);
    polynomial<L>(squares, kLogQuotient, quotients);
    CONFPRESS_EACH(r, n) {
      const Vec bend = L::mul(share[r], quotients[r]);
      const Vec softplus = L::add(L::max(zero, z[r]), bend);
      const Vec line = L::mul(x[r], L::all(p.slope));
      x[r] = L::sub(L::sub(softplus, line), L::all(p.offset));
    }
  }
};

template <class L>
static constexpr SwooshKernel swoosh_kernel() {
  return {SwooshLanes<L>::run};
}

}  // namespace confpress

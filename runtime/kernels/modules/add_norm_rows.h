// The kernel of AddNorm on any Lanes.
#pragma once

#include <cmath>

#include "lanes/lanes_math.h"
#include "modules/add_norm.h"

namespace confpress {

// Four rows are computed side by side: each sum over a row, its root and its quotient wait for what
// is before them, and one row leaves the processor little else to do meanwhile.
template <class L>
class AddNormRows {
 public:
  static void run(const AddNormProblem& p, Range rows) noexcept {
    size_t row = rows.begin;
    for (; row + kAtOnce <= rows.end; row += kAtOnce) some<kAtOnce>(p, row * p.width);
    for (; row < rows.end; ++row) some<1>(p, row * p.width);
  }

 private:
  using Vec = typename L::Vec;
  static constexpr size_t kWidth = L::kWidth;
  static constexpr int kAtOnce = 4;

  template <int kRows>
  struct Sums {
    Vec of[kRows];
    Sums() { CONFPRESS_EACH(r, kRows) of[r] = L::zero(); }
  };

  // The rows from `start` on.
  template <int kRows>
  static void some(const AddNormProblem& p, size_t start) {
    float* y0 = p.y0 + start;
    float* y1 = p.y1 + start;
    const Sums<kRows> totals = add<kRows>(p, start);
    if (p.norm_count == 1) return normalise(y0, totals, p.norms[0], p.width, y1);
    normalise(y0, totals, p.norms[0], p.width, y0);
    normalise(y0, sums_of<kRows>(y0, p.width), p.norms[1], p.width, y1);
  }

  // y0 = stream + scale · branch, and its sums.
  template <int kRows>
  static Sums<kRows> add(const AddNormProblem& p, size_t start) {
    const Vec scale = L::all(p.scale);
    Sums<kRows> totals;
    for (size_t i = 0; i < p.width; i += kWidth) {
      const size_t left = p.width - i;
      CONFPRESS_EACH(r, kRows) {
        const size_t at = start + r * p.width + i;
        const Vec branch = L::mul(L::load(p.branch + at, left), scale);
        const Vec sum = L::add(L::load(p.stream + at, left), branch);
        L::store(p.y0 + at, sum, left);
        totals.of[r] = L::add(totals.of[r], sum);
      }
    }
    return totals;
  }

  template <int kRows>
  static Sums<kRows> sums_of(const float* x, size_t width) {
    Sums<kRows> totals;
    for (size_t i = 0; i < width; i += kWidth) {
      CONFPRESS_EACH(r, kRows) {
        totals.of[r] = L::add(totals.of[r], L::load(x + r * width + i, width - i));
      }
    }
    return totals;
  }

  // y = (x - mean) / sqrt(variance + epsilon) · weight + bias; y may be x.
  template <int kRows>
  static void normalise(const float* x, const Sums<kRows>& totals, const LayerNorm& norm,
                        size_t width, float* y) {
    const auto count = static_cast<float>(width);
    Vec means[kRows];
    CONFPRESS_EACH(r, kRows) means[r] = L::all(L::sum(totals.of[r]) / count);
    Sums<kRows> squares;
    for (size_t i = 0; i < width; i += kWidth) {
      const size_t left = width - i;
      const auto inside = L::first(left);
      CONFPRESS_EACH(r, kRows) {
        const Vec centred = L::sub(L::load(x + r * width + i, left), means[r]);
        const Vec counted = L::select(inside, centred, L::zero());
        squares.of[r] = L::fma(counted, counted, squares.of[r]);
      }
    }
    Vec factors[kRows];
    CONFPRESS_EACH(r, kRows) {
      const float variance = L::sum(squares.of[r]) / count;
      factors[r] = L::all(1.0f / std::sqrt(variance + norm.epsilon));
    }
    for (size_t i = 0; i < width; i += kWidth) {
      const size_t left = width - i;
      const Vec weight = L::load(norm.weight + i, left);
      const Vec bias = L::load(norm.bias + i, left);
      CONFPRESS_EACH(r, kRows) {
        const size_t at = r * width + i;
        const Vec centred = L::mul(L::sub(L::load(x + at, left), means[r]), factors[r]);
        L::store(y + at, L::fma(centred, weight, bias), left);
      }
    }
  }
};

template <class L>
static constexpr AddNormKernel add_norm_kernel() {
  return {AddNormRows<L>::run};
}

}  // namespace confpress

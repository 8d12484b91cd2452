// The kernel of AddNorm on any Lanes.
#pragma once

#include <cmath>

#include "add_norm.h"

namespace confpress {

template <class L>
class AddNormRows {
 public:
  static void run(const AddNormProblem& p, Range rows) noexcept {
    for (size_t row = rows.begin; row < rows.end; ++row) {
      const size_t start = row * p.width;
      const float total = add(p, start);
      normalise(p.y0 + start, total, p.norms[0], p.width,
                (p.norm_count == 1 ? p.y1 : p.y0) + start);
      if (p.norm_count == 1) continue;
      normalise(p.y0 + start, sum_of(p.y0 + start, p.width), p.norms[1], p.width, p.y1 + start);
    }
  }

 private:
  using Vec = typename L::Vec;
  static constexpr size_t kWidth = L::kWidth;

  // y0 = stream + scale · branch, and its sum.
  static float add(const AddNormProblem& p, size_t start) {
    const Vec scale = L::all(p.scale);
    Vec total = L::zero();
    for (size_t i = 0; i < p.width; i += kWidth) {
      const size_t left = p.width - i;
      const Vec branch = L::mul(L::load(p.branch + start + i, left), scale);
      const Vec sum = L::add(L::load(p.stream + start + i, left), branch);
      L::store(p.y0 + start + i, sum, left);
      total = L::add(total, sum);
    }
    return L::sum(total);
  }

  static float sum_of(const float* x, size_t width) {
    Vec total = L::zero();
    for (size_t i = 0; i < width; i += kWidth) total = L::add(total, L::load(x + i, width - i));
    return L::sum(total);
  }

  // y = (x - mean) / sqrt(variance + epsilon) · weight + bias; y may be x.
  static void normalise(const float* x, float total, const LayerNorm& norm, size_t width,
                        float* y) {
    const auto count = static_cast<float>(width);
    const Vec mean = L::all(total / count);
    Vec squares = L::zero();
    for (size_t i = 0; i < width; i += kWidth) {
      const size_t left = width - i;
      const Vec centred = L::select(L::first(left), L::sub(L::load(x + i, left), mean), L::zero());
      squares = L::fma(centred, centred, squares);
    }
    const float variance = L::sum(squares) / count;
    const Vec factor = L::all(1.0f / std::sqrt(variance + norm.epsilon));
    for (size_t i = 0; i < width; i += kWidth) {
      const size_t left = width - i;
      const Vec centred = L::mul(L::sub(L::load(x + i, left), mean), factor);
      const Vec result =
          L::fma(centred, L::load(norm.weight + i, left), L::load(norm.bias + i, left));
      L::store(y + i, result, left);
    }
  }
};

template <class L>
static constexpr AddNormKernel add_norm_kernel() {
  return {AddNormRows<L>::run};
}

}  // namespace confpress

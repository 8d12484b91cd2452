// Weights that AVX2 multiplies by unsigned codes without widening them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace confpress {

// Whether vpmaddubsw, which adds two neighbouring products in int16, never saturates with codes of
// 0 to 255: neither sum of two is beyond ±128, since 255 · 128 < 2^15 <= 255 · 129. (Of weights
// with different signs only one counts at a time.) So it is for all weights within ±64, which
// passes/seven_bits.py makes.
inline bool fit_int7(const int8_t* weights, size_t size) {
  bool fit = true;
  for (size_t i = 0; i < size; i += 2) {
    const int sum = weights[i] + weights[i + 1];
    fit &= -128 <= sum && sum <= 128;
  }
  return fit;
}

}  // namespace confpress

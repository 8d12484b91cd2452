// What a tile of a low-bit product ends a chunk with, on any Lanes: its sums go to Y as they are,
// or complete, y = activation(totals · frame_scale + bias).
#pragma once

#include "linear/linear_epilogue.h"
#include "linear/linear_lowbit_task.h"

namespace confpress {

// `totals` of rows that begin `half` rows behind the tile's strip.
template <class L, int kFrames, int kRegisters>
[[gnu::always_inline]] static inline void end_tile(
    const LinearLowbitProblem& p, const LowbitTile& t,
    const typename L::Vec (&totals)[kFrames][kRegisters], size_t half = 0) {
  const size_t row = t.strip * kStripRows + half;
  const float* frame_scales = p.frame_scales + t.frame;
  const auto z_of = [&](int r, typename L::Vec(&z)[kFrames]) __attribute__((always_inline)) {
    const auto bias = L::load(p.bias + row + r * L::kWidth);
    CONFPRESS_EACH(f, kFrames) {
      z[f] = t.last ? L::fma(totals[f][r], L::all(frame_scales[f]), bias) : totals[f][r];
    }
  };
  const RowsOfY to{p.y + t.frame * p.rows + row, p.rows, p.rows - row};
  const Activation activation = t.last ? p.activation : Activation::kNone;
  store_activated<L, kRegisters, kFrames>(activation, to, z_of);
}

}  // namespace confpress

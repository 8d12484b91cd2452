// What a tile of a linear layer begins and ends with, on any Lanes: the start of integer sums;
// their scales and bias, the activation, and Y. Besides what activations need, Lanes has here
//   Ints, floats(ints)   a register of int32, and the same numbers as floats
//   load_ints(p)         a register of int32
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/held.h"
#include "lanes/activation_lanes.h"

#define CONFPRESS_INLINE [[gnu::always_inline]] static inline

namespace confpress {

// The sums of all frames start with the rows' offsets.
template <class L, int kFrames, int kRegisters>
CONFPRESS_INLINE void start_sums(const int32_t* offsets,
                                 typename L::Ints (&sums)[kFrames][kRegisters]) {
  CONFPRESS_EACH(r, kRegisters) {
    const auto of_rows = L::load_ints(offsets + r * L::kWidth);
    CONFPRESS_EACH(f, kFrames) sums[f][r] = of_rows;
  }
}

// Some frames' rows of Y, `left` of them within Y.
struct RowsOfY {
  float* y;
  size_t stride;  // from one frame to the next
  size_t left;
};

// Stores register r of all frames.
template <class L, int kFrames>
CONFPRESS_INLINE void store(const RowsOfY& to, int r, const typename L::Vec (&z)[kFrames]) {
  float* out = to.y + r * L::kWidth;
  CONFPRESS_EACH(f, kFrames) {
    L::store(out, z[f], to.left - r * L::kWidth);
    out = held(out + to.stride);
  }
}

// Neither inlined nor copied for its constants: every tile would hold the code of all activations.
template <class L, int kFrames>
[[gnu::noinline, gnu::noclone]] static void activate_rows(Activation activation, const RowsOfY& to,
                                                          const float* z, size_t stride) {
  for (int r = 0; r * L::kWidth < stride && r * L::kWidth < to.left; ++r) {
    typename L::Vec values[kFrames];
    CONFPRESS_EACH(f, kFrames) values[f] = L::load(z + f * stride + r * L::kWidth);
    activate<L>(activation, values);
    store<L>(to, r, values);
  }
}

// y = activation(z) for some frames and registers of rows; `z_of(r, z)` computes register r of all
// frames.
template <class L, int kRegisters, int kFrames, class ZOf>
CONFPRESS_INLINE void store_activated(Activation activation, const RowsOfY& to, const ZOf& z_of) {
  constexpr size_t kStride = kRegisters * L::kWidth;
  const bool last = activation == Activation::kNone;
  alignas(64) float waiting[kFrames * kStride];
  const RowsOfY rows{last ? to.y : waiting, last ? to.stride : kStride, last ? to.left : kStride};
  CONFPRESS_EACH(r, kRegisters) {
    if (r * L::kWidth >= rows.left) break;
    typename L::Vec z[kFrames];
    z_of(r, z);
    store<L>(rows, r, z);
  }
  if (!last) activate_rows<L, kFrames>(activation, to, waiting, kStride);
}

// y = activation((float(sums) · frame_scale) · row_scale + bias) for the frames from `frame` on and
// the rows from `row` on; scales and biases are padded to whole strips.
template <class L, class Problem, int kFrames, int kRegisters>
CONFPRESS_INLINE void finish(const Problem& p, const typename L::Ints (&sums)[kFrames][kRegisters],
                             size_t frame, size_t row) {
  const float* frame_scales = p.frame_scales + frame;
  const auto z_of = [&](int r, typename L::Vec(&z)[kFrames]) __attribute__((always_inline)) {
    const auto row_scales = L::load(p.row_scales + row + r * L::kWidth);
    const auto bias = L::load(p.bias + row + r * L::kWidth);
    CONFPRESS_EACH(f, kFrames) {
      const auto product = L::mul(L::floats(sums[f][r]), L::all(frame_scales[f]));
      z[f] = L::add(L::mul(product, row_scales), bias);
    }
  };
  const RowsOfY to{p.y + frame * p.rows + row, p.rows, p.rows - row};
  store_activated<L, kRegisters, kFrames>(p.activation, to, z_of);
}

}  // namespace confpress

#undef CONFPRESS_INLINE

// SparseLinear with AVX-512 VNNI, for the `*_avx512*.cc` files: tiles of 8 frames x 2 strips.
#pragma once

#include "lanes_avx512.h"
#include "linear_epilogue.h"
#include "linear_sparse.h"
#include "sparse_tile_avx512.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress::avx512 {

struct FrameTiles {
  template <class Slot, int kFrames>
  [[gnu::noinline]] static void tile(const LinearSparseProblem& p, size_t frame, size_t strip) {
    const size_t first = strip * kStripRows;
    const size_t stride = p.codes_stride;
    SparseTile<kFrames, Slot::kStrips> t;
    CONFPRESS_UNROLL
    for (int s = 0; s < Slot::kStrips; ++s) {
      const __m512i start = _mm512_loadu_si512(p.offsets + first + s * kStripRows);
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) t.sums[f][s] = start;
    }
    add_slots<Slot>(t, p, strip, CodesOfFrames{p.codes + frame * stride, stride, held(3 * stride)});
    finish<Lanes>(p, t.sums, frame, first);
  }
};

}  // namespace confpress::avx512

#undef CONFPRESS_UNROLL

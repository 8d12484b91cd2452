// SparseLinear with AVX-512 VNNI, for the `*_avx512*.cc` files: tiles of 8 frames x 2 strips.
#pragma once

#include "lanes/lanes_avx512.h"
#include "linear/linear_epilogue.h"
#include "sparse/linear_sparse.h"
#include "sparse/sparse_tile_avx512.h"

namespace confpress::avx512 {

struct FrameTiles {
  template <class Slot, int kFrames>
  [[gnu::noinline]] static void tile(const LinearSparseProblem& p, size_t frame, size_t strip) {
    const size_t first = strip * kStripRows;
    const size_t stride = p.codes_stride;
    __m512i sums[kFrames][Slot::kStrips];
    start_sums<Lanes>(p.offsets + first, sums);
    const CodesOfFrames codes{p.codes + frame * stride, stride, held(3 * stride)};
    add_slots<Slot>(p, strip, codes, sums);
    finish<Lanes>(p, sums, frame, first);
  }
};

}  // namespace confpress::avx512

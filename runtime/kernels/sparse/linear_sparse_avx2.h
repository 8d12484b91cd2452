// SparseLinear in registers of 32 bytes, for the `*_avx*.cc` files.
#pragma once

#include "linear/linear_epilogue.h"
#include "sparse/linear_sparse.h"
#include "sparse/sparse_tile_avx2.h"

namespace confpress {

// Product is a type of the including file's own.
template <class Product>
struct LinearSparseAvx2Tiles {
  using Tiles = SparseAvx2Tiles<Product>;
  static constexpr int kTileFrames = Tiles::kTileFrames;

  template <SlotReach kReach, int kFrames>
  [[gnu::noinline]] static void tile(const LinearSparseProblem& p, size_t frame, size_t strip) {
    const size_t stride = p.codes_stride;
    const size_t row = strip * kStripRows;
    __m256i sums[kFrames][Tiles::kHalves];
    start_sums<avx2::Lanes>(p.offsets + row, sums);
    const CodesOfFrames codes{held(p.codes + frame * stride), stride, held(3 * stride)};
    Tiles::template add_slots<kReach>(p, strip, codes, sums);
    finish<avx2::Lanes>(p, sums, frame, row);
  }

  static void multiply(const LinearSparseProblem& p, Range frames, Range strips) noexcept {
    Tiles::template multiply<LinearSparseAvx2Tiles>(p.reach, p, frames, strips);
  }
};

}  // namespace confpress

// Where a tile of sparse products finds the codes of its frames. Everything is inlined: files of
// different instruction sets include this.
#pragma once

#include <cstddef>

#include "base/held.h"

#define CONFPRESS_INLINE [[gnu::always_inline]] inline

namespace confpress {

// Codes from a column on of four frames at most, at equal distances. An address holds up to two
// strides or one of a register's own: no instruction is spent on them, and the processor has few to
// spare beside two look-ups and products in every two cycles.
struct SomeFrames {
  const std::byte* first;
  size_t stride;
  size_t three_strides;

  CONFPRESS_INLINE const std::byte* operator[](int frame) const {
    return first + (frame == 3 ? three_strides : frame * stride);
  }
};

// A tile's frames: `near` gives the first of them from a column on, `far` those behind.
struct CodesOfFrames {
  const std::byte* codes;
  size_t stride;
  size_t three_strides;

  CONFPRESS_INLINE SomeFrames near(size_t column) const {
    return {held(codes + column), stride, three_strides};
  }
  template <int kNear>
  CONFPRESS_INLINE SomeFrames far(const SomeFrames& near) const {
    return {held(near.first + kNear * stride), stride, three_strides};
  }
};

// The same of frames that lie anywhere: an address holds a frame's and the column.
struct SomePieces {
  const std::byte* const* pieces;
  size_t column;

  CONFPRESS_INLINE const std::byte* operator[](int frame) const { return pieces[frame] + column; }
};

struct CodesOfPieces {
  const std::byte* const* pieces;

  CONFPRESS_INLINE SomePieces near(size_t column) const { return {pieces, held(column)}; }
  template <int kNear>
  CONFPRESS_INLINE SomePieces far(const SomePieces& near) const {
    return {pieces + kNear, near.column};
  }
};

}  // namespace confpress

#undef CONFPRESS_INLINE

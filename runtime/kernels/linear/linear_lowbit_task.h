// A task of a low-bit product: chunk by chunk of the columns, decode some strips' weights, then
// multiply them with all the task's frames. Between chunks the sums wait in Y.
//
// Included by files of different instruction sets, each with its own `Isa`:
//   kTileFrames, kTileStrips
//   decode(problem, packed, count, out)   `count` packed groups to bytes [8 / bits, 16, 4] each
//   tile<frames, strips>(problem, Tile)   one register tile
#pragma once

#include <algorithm>

#include "linear/linear_lowbit.h"

namespace confpress {

// Some frames and strips over the columns of one chunk.
struct LowbitTile {
  size_t frame;
  size_t strip;
  size_t first_block;
  size_t last_block;       // exclusive
  const uint8_t* weights;  // decoded, [strips, kChunkGroups, 16, 4]
  bool first;              // the sums start at zero
  bool last;               // the sums are complete
};

template <class Isa, int kFrames, int kStrips>
static void lowbit_tile_of(const LinearLowbitProblem& p, size_t count, const LowbitTile& tile) {
  if constexpr (kFrames > 1) {
    if (count < kFrames) return lowbit_tile_of<Isa, kFrames - 1, kStrips>(p, count, tile);
  }
  Isa::template tile<kFrames, kStrips>(p, tile);
}

template <class Isa, int kStrips>
static void lowbit_strips(const LinearLowbitProblem& p, Range frames, size_t strip) {
  alignas(64) uint8_t decoded[kStrips * kChunkGroups * kGroupBytes];
  const size_t parts = 8 / static_cast<size_t>(p.bits);
  const size_t strip_bytes = p.groups / parts * kGroupBytes;
  const Parts tiles = cut(frames, ceil_div(frames.end - frames.begin, Isa::kTileFrames));
  for (size_t group = 0; group < p.groups; group += kChunkGroups) {
    const size_t groups = std::min(kChunkGroups, p.groups - group);
    for (size_t s = 0; s < kStrips; ++s) {
      Isa::decode(p, p.weights + (strip + s) * strip_bytes + group / parts * kGroupBytes,
                  groups / parts, decoded + s * kChunkGroups * kGroupBytes);
    }
    LowbitTile tile{0,       strip,      group / p.block_groups,    0,
                    decoded, group == 0, group + groups == p.groups};
    tile.last_block = ceil_div(group + groups, p.block_groups);
    for (size_t i = 0; i < tiles.count; ++i) {
      const Range range = part(tiles, i);
      tile.frame = range.begin;
      lowbit_tile_of<Isa, Isa::kTileFrames, kStrips>(p, range.end - range.begin, tile);
    }
  }
}

template <class Isa>
static void lowbit_multiply(const LinearLowbitProblem& p, Range frames, Range strips) noexcept {
  size_t strip = strips.begin;
  if constexpr (Isa::kTileStrips == 2) {
    for (; strip + 2 <= strips.end; strip += 2) lowbit_strips<Isa, 2>(p, frames, strip);
  }
  for (; strip < strips.end; ++strip) lowbit_strips<Isa, 1>(p, frames, strip);
}

}  // namespace confpress

// 6 frames x 1 strip, NEON with dot product: 24 accumulators of 4 rows each. sdot adds four
// products of signed bytes to an int32.
#include "linear/linear_int8.h"
#include "linear/linear_neon.h"

namespace confpress {
namespace {

using neon::kLanes;
using neon::kQuarters;

constexpr size_t kTileFrames = 6;

template <int kFrames>
void tile(const LinearInt8Problem& p, size_t frame, size_t strip) {
  const int8_t* codes = static_cast<const int8_t*>(p.codes) + frame * p.codes_stride;
  const int8_t* w = p.weights + strip * p.groups * kGroupBytes;
  const size_t row = strip * kStripRows;
  int32x4_t sums[kFrames][kQuarters];
  CONFPRESS_UNROLL
  for (int i = 0; i < kQuarters; ++i) {
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) sums[f][i] = vld1q_s32(p.offsets + row + i * kLanes);
  }
  for (size_t group = 0; group < p.groups; ++group, w += kGroupBytes) {
    int8x16_t x[kFrames];
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      x[f] = neon::broadcast_group(codes + f * p.codes_stride + group * kGroupColumns);
    }
    CONFPRESS_UNROLL
    for (int i = 0; i < kQuarters; ++i) {
      const int8x16_t weights = vld1q_s8(w + i * kGroupBytes / kQuarters);
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) sums[f][i] = vdotq_s32(sums[f][i], weights, x[f]);
    }
  }
  finish<neon::Lanes>(p, sums, frame, row);
}

template <int kFrames>
void tile_of(const LinearInt8Problem& p, size_t count, size_t frame, size_t strip) {
  if constexpr (kFrames > 1) {
    if (count < kFrames) return tile_of<kFrames - 1>(p, count, frame, strip);
  }
  tile<kFrames>(p, frame, strip);
}

void multiply(const LinearInt8Problem& p, Range frames, Range strips) noexcept {
  const Parts tiles = cut(frames, ceil_div(frames.end - frames.begin, kTileFrames));
  for (size_t strip = strips.begin; strip < strips.end; ++strip) {
    for (size_t i = 0; i < tiles.count; ++i) {
      const Range range = part(tiles, i);
      tile_of<kTileFrames>(p, range.end - range.begin, range.begin, strip);
    }
  }
}

}  // namespace

const LinearInt8Kernel kLinearInt8NeonDot{&kFrameQuantizerNeonDot, kTilesOfTask * kTileFrames, 1,
                                          multiply};

}  // namespace confpress

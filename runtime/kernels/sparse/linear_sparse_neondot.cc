// 4 frames x 1 strip, NEON with dot product: tbl gathers four codes of a frame for each of 4 rows,
// out of as many registers as a slot's columns reach over, and sdot multiplies them with the
// weights.
#include "linear/linear_neon.h"
#include "sparse/linear_sparse.h"

namespace confpress {
namespace {

using neon::kLanes;
using neon::kQuarters;

constexpr size_t kTileFrames = 4;

// A frame's codes among which a slot looks up.
template <SlotReach kReach>
struct Table;

template <>
struct Table<SlotReach::kWindow> {
  explicit Table(const int8_t* codes) : all(vld1q_s8(codes)) {}
  int8x16_t at(uint8x16_t places) const { return vqtbl1q_s8(all, places); }
  int8x16_t all;
};

template <>
struct Table<SlotReach::kPair> {
  explicit Table(const int8_t* codes) : all{{vld1q_s8(codes), vld1q_s8(codes + 16)}} {}
  int8x16_t at(uint8x16_t places) const { return vqtbl2q_s8(all, places); }
  int8x16x2_t all;
};

template <>
struct Table<SlotReach::kBlock> {
  explicit Table(const int8_t* codes)
      : all{{vld1q_s8(codes), vld1q_s8(codes + 16), vld1q_s8(codes + 32), vld1q_s8(codes + 48)}} {}
  int8x16_t at(uint8x16_t places) const { return vqtbl4q_s8(all, places); }
  int8x16x4_t all;
};

template <SlotReach kReach, int kFrames>
void tile(const LinearSparseProblem& p, size_t frame, size_t strip) {
  const auto* codes = reinterpret_cast<const int8_t*>(p.codes + frame * p.codes_stride);
  const int8_t* w = p.weights + strip * p.strip_bytes();
  const uint8_t* columns = p.columns + strip * p.strip_bytes();
  const size_t row = strip * kStripRows;
  const uint8x16_t reached = vdupq_n_u8(reached_columns(kReach) - 1);
  int32x4_t sums[kFrames][kQuarters];
  CONFPRESS_UNROLL
  for (int i = 0; i < kQuarters; ++i) {
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) sums[f][i] = vld1q_s32(p.offsets + row + i * kLanes);
  }
  for (size_t slot = 0; slot < p.slots; ++slot, w += kSlotBytes, columns += kSlotBytes) {
    const int8_t* first = codes + p.first_column<kReach>(slot);
    CONFPRESS_UNROLL
    for (int i = 0; i < kQuarters; ++i) {
      const size_t at = i * kSlotBytes / kQuarters;
      const int8x16_t weights = vld1q_s8(w + at);
      const uint8x16_t places = vandq_u8(vld1q_u8(columns + at), reached);
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) {
        const int8x16_t x = Table<kReach>(first + f * p.codes_stride).at(places);
        sums[f][i] = vdotq_s32(sums[f][i], weights, x);
      }
    }
  }
  finish<neon::Lanes>(p, sums, frame, row);
}

template <SlotReach kReach, int kFrames>
void tile_of(const LinearSparseProblem& p, size_t count, size_t frame, size_t strip) {
  if constexpr (kFrames > 1) {
    if (count < kFrames) return tile_of<kReach, kFrames - 1>(p, count, frame, strip);
  }
  tile<kReach, kFrames>(p, frame, strip);
}

template <SlotReach kReach>
void multiply_as(const LinearSparseProblem& p, Range frames, Range strips) {
  const Parts tiles = cut(frames, ceil_div(frames.end - frames.begin, kTileFrames));
  for (size_t strip = strips.begin; strip < strips.end; ++strip) {
    for (size_t i = 0; i < tiles.count; ++i) {
      const Range range = part(tiles, i);
      tile_of<kReach, kTileFrames>(p, range.end - range.begin, range.begin, strip);
    }
  }
}

void multiply(const LinearSparseProblem& p, Range frames, Range strips) noexcept {
  switch (p.reach) {
    case SlotReach::kWindow:
      return multiply_as<SlotReach::kWindow>(p, frames, strips);
    case SlotReach::kPair:
      return multiply_as<SlotReach::kPair>(p, frames, strips);
    case SlotReach::kBlock:
      return multiply_as<SlotReach::kBlock>(p, frames, strips);
  }
}

}  // namespace

const LinearSparseKernel kLinearSparseNeonDot{&kFrameQuantizerNeonDot, kTileFrames, 1, multiply};

}  // namespace confpress

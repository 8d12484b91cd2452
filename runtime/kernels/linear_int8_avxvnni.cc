// 6 frames x 1 strip, AVX-VNNI: 12 accumulators of 8 rows. vpdpbusd adds four products of unsigned
// and signed bytes to an int32 without saturating.
#include "add_products_avxvnni.h"
#include "lanes_avx2.h"
#include "linear_epilogue.h"
#include "linear_int8.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress {
namespace {

constexpr size_t kTileFrames = 6;
constexpr size_t kLanes = avx2::Lanes::kWidth;
constexpr int kHalves = kStripRows / kLanes;  // registers of a strip

__m256i broadcast_group(const uint8_t* codes) {
  int word = 0;
  __builtin_memcpy(&word, codes, sizeof word);
  return _mm256_set1_epi32(word);
}

__m256i load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }

template <int kFrames>
void tile(const LinearInt8Problem& p, size_t frame, size_t strip) {
  const uint8_t* codes = static_cast<const uint8_t*>(p.codes) + frame * p.codes_stride;
  const int8_t* w = p.weights + strip * p.groups * kGroupBytes;
  const size_t row = strip * kStripRows;
  __m256i sums[kFrames][kHalves];
  CONFPRESS_UNROLL
  for (int i = 0; i < kHalves; ++i) {
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) sums[f][i] = load(p.offsets + row + i * kLanes);
  }
  for (size_t group = 0; group < p.groups; ++group, w += kGroupBytes, codes += kGroupColumns) {
    const __m256i weights[kHalves] = {load(w), load(w + kGroupBytes / kHalves)};
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      const __m256i x = broadcast_group(codes + f * p.codes_stride);
      CONFPRESS_UNROLL
      for (int i = 0; i < kHalves; ++i) avxvnni::add_products(sums[f][i], x, weights[i]);
    }
  }
  finish<avx2::Lanes>(p, sums, frame, row);
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

const LinearInt8Kernel kLinearInt8AvxVnni{&kFrameQuantizerAvxVnni, kTileFrames, 1, multiply};

}  // namespace confpress

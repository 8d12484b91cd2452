// QuantLinear on AMX: 2 x 2 tiles of 16 frames x 16 rows.
#include <immintrin.h>

#include <cstring>

#include "lanes/lanes_avx512.h"
#include "lanes/product_amx.h"
#include "linear/linear_epilogue.h"
#include "linear/linear_int8.h"

namespace confpress {
namespace {

using avx512::Lanes;

static_assert(kGroupBytes == amx::kTileBytes && kStripRows == amx::kLanes);

// Setting up the registers takes as long as some 20 products of tiles, so tasks are large.
constexpr size_t kTaskFrames = 2 * amx::kPair * amx::kTileRows;
constexpr size_t kTaskStrips = 16;
// Fewer are faster without tiles.
constexpr size_t kLeastFrames = 6;

// Some neighbouring strips, tile by tile. What is left of a strip is read as a whole tile, with the
// beginning of the next strip: codes beyond a frame's last group are zeros. Only where W ends is a
// copy needed.
template <size_t kStrips>
struct WeightTiles {
  size_t count;  // of tiles before the last
  const int8_t* first[kStrips];
  const int8_t* last[kStrips];
  alignas(64) int8_t copies[kStrips][amx::kTileSize];

  WeightTiles(const LinearInt8Problem& p, size_t strip)
      : count(ceil_div(p.groups, amx::kTileRows) - 1) {
    const size_t strip_bytes = p.groups * kGroupBytes;
    const int8_t* end = p.weights + ceil_div(p.rows, kStripRows) * strip_bytes;
    for (size_t s = 0; s < kStrips; ++s) {
      first[s] = p.weights + (strip + s) * strip_bytes;
      last[s] = first[s] + count * amx::kTileSize;
      const size_t left = static_cast<size_t>(end - last[s]);
      if (left >= amx::kTileSize) continue;
      std::memcpy(copies[s], last[s], left);
      std::memset(copies[s] + left, 0, amx::kTileSize - left);
      last[s] = copies[s];
    }
  }
};

// A tile of weights that will be read after the next products: the second cache is too far away for
// a load of 16 lines.
const int8_t* asked_for(const int8_t* tile) {
  for (size_t line = 0; line < amx::kTileSize; line += amx::kTileBytes) {
    _mm_prefetch(reinterpret_cast<const char*>(tile + line), _MM_HINT_T0);
  }
  return tile;
}

// Of a strip, sums of a tile of frames.
using Sums = int32_t[amx::kTileRows][kStripRows];

template <int kFrames, size_t kStrips>
void finish_frames(const LinearInt8Problem& p, const Sums (&sums)[kStrips], size_t first,
                   size_t frame, size_t row) {
  __m512i near[kFrames][kStrips];
  CONFPRESS_EACH(f, kFrames) {
    CONFPRESS_EACH(s, static_cast<int>(kStrips)) near[f][s] = Lanes::load_ints(sums[s][first + f]);
  }
  finish<Lanes>(p, near, frame + first, row);
}

template <size_t kStrips>
void finish_tile(const LinearInt8Problem& p, const Sums (&sums)[kStrips], size_t frames,
                 size_t frame, size_t row) {
  constexpr int kTogether = 8;
  size_t first = 0;
  for (; first + kTogether <= frames; first += kTogether) {
    finish_frames<kTogether>(p, sums, first, frame, row);
  }
  for (; first < frames; ++first) finish_frames<1>(p, sums, first, frame, row);
}

// y for one or two tiles of frames, from tile `i` on, and one or two strips.
template <size_t kTiles, size_t kStrips>
[[gnu::noinline]] void multiply_tiles(const LinearInt8Problem& p, const WeightTiles<kStrips>& w,
                                      const amx::EqualTiles& tiles, size_t i, size_t strip) {
  using Product = amx::Product<kTiles, kStrips>;
  const size_t row = strip * kStripRows;
  const uint8_t* codes[kTiles];
  for (size_t t = 0; t < kTiles; ++t) {
    codes[t] = static_cast<const uint8_t*>(p.codes) + tiles[i + t] * p.codes_stride;
  }
  const int8_t* weights[kStrips];
  for (size_t s = 0; s < kStrips; ++s) weights[s] = w.first[s];
  Product::start(p.offsets + row);
  for (size_t tile = 0; tile < w.count; ++tile) {
    Product::add(codes, p.codes_stride, weights);
    for (const uint8_t*& c : codes) c += amx::kTileBytes;
    for (const int8_t*& of_strip : weights) of_strip = asked_for(of_strip + amx::kTileSize);
  }
  Product::add(codes, p.codes_stride, w.last);

  alignas(64) Sums sums[kTiles][kStrips];
  int32_t* to[kTiles][kStrips];
  for (size_t t = 0; t < kTiles; ++t) {
    for (size_t s = 0; s < kStrips; ++s) to[t][s] = sums[t][s][0];
  }
  Product::store(to);
  for (size_t t = 0; t < kTiles; ++t) {
    finish_tile(p, sums[t], tiles.height, tiles[i + t], row);
  }
}

void multiply(const LinearInt8Problem& p, Range frames, Range strips) noexcept {
  if (frames.end - frames.begin < kLeastFrames) {
    return kLinearInt8Avx512Vnni.multiply(p, frames, strips);
  }
  const amx::EqualTiles tiles(frames);
  const amx::ShapedTiles shapes(tiles.height);
  amx::by_pairs({0, tiles.count}, [&](size_t tile, auto tiles_at_once) {
    amx::by_pairs(strips, [&](size_t strip, auto strips_at_once) {
      const WeightTiles<strips_at_once> weights(p, strip);
      multiply_tiles<tiles_at_once, strips_at_once>(p, weights, tiles, tile, strip);
    });
  });
}

}  // namespace

const LinearInt8Kernel kLinearInt8Amx{&kFrameQuantizerAmx, kTaskFrames, kTaskStrips, multiply};

}  // namespace confpress

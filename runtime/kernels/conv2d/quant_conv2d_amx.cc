// QuantConv2d on AMX: 2 x 2 tiles of 16 places x 16 output channels. Pieces do not lie at equal
// distances, so those of a tap over time are copied into tiles, once for all channels of a task.
// Sums wait in the second cache until all taps have theirs; the end is that of every instruction
// set.
#include <immintrin.h>

#include "conv2d/conv2d_tile.h"
#include "conv2d/quant_conv2d.h"
#include "lanes/lanes_avx512.h"
#include "lanes/product_amx.h"

namespace confpress {
namespace {

static_assert(kConvGroupBytes == amx::kTileBytes && kConvStrip == amx::kLanes);
static_assert(kBytesBeyondWeights >= amx::kTileSize - kConvGroupBytes);

constexpr size_t kPlaces = amx::kTileRows;
constexpr size_t kTaskStrips = 6;
// What one task holds is bounded; no subsampling has larger windows or pieces.
constexpr size_t kMostTaps = 5;
constexpr size_t kMostTilesOfPiece = 32;

// Of a tap and a strip, for one tile of places.
using Sums = int32_t[kPlaces][kConvStrip];

// The pieces of a tap at a tile's places, of so many bytes, with zeros up to whole tiles.
void copy_pieces(const QuantConv2dProblem& p, size_t place, size_t tap, size_t bytes,
                 uint8_t (*tiles)[amx::kTileSize]) {
  PlaceRows<kPlaces> places(p, place);
  places.enter(tap);
  for (size_t done = 0; done < bytes; done += amx::kTileBytes, ++tiles) {
    const size_t left = bytes - done;
    const auto inside =
        static_cast<__mmask64>(left < amx::kTileBytes ? (uint64_t{1} << left) - 1 : ~uint64_t{0});
    for (size_t i = 0; i < kPlaces; ++i) {
      const __m512i codes = _mm512_maskz_loadu_epi8(inside, places.codes(i) + done);
      _mm512_store_si512(*tiles + i * amx::kTileBytes, codes);
    }
  }
}

// One or two tiles of places, for the strips of a task.
template <size_t kTiles>
class PlaceTiles {
 public:
  PlaceTiles(const QuantConv2dProblem& problem, const amx::EqualTiles& tiles, size_t i)
      : p_(problem), tiles_(tiles), i_(i), bytes_(problem.groups_of_piece() * kConvGroup) {}

  void multiply(Range strips) {
    add_taps(strips);
    amx::by_pairs(strips, [&](size_t strip, auto at_once) {
      for (size_t t = 0; t < kTiles; ++t) finish<at_once>(t, strip, strip - strips.begin);
    });
  }

 private:
  void add_taps(Range strips) {
    for (size_t tap = 0; tap < p_.window.time.taps; ++tap) {
      for (size_t t = 0; t < kTiles; ++t) {
        copy_pieces(p_, tiles_[i_ + t], tap, bytes_, codes_[t]);
      }
      amx::by_pairs(strips, [&](size_t strip, auto at_once) {
        add_tap<at_once>(tap, strip, strip - strips.begin);
      });
    }
  }

  template <size_t kStrips>
  void add_tap(size_t tap, size_t strip, size_t of_task) {
    using Product = amx::Product<kTiles, kStrips>;
    alignas(64) static constexpr int32_t kZeros[kStrips * kConvStrip] = {};
    const int8_t* weights[kStrips];
    for (size_t s = 0; s < kStrips; ++s) weights[s] = p_.weights_at(tap, strip + s);
    Product::start(kZeros);
    for (size_t tile = 0; tile * amx::kTileBytes < bytes_; ++tile) {
      const uint8_t* codes[kTiles];
      for (size_t t = 0; t < kTiles; ++t) codes[t] = codes_[t][tile];
      Product::add(codes, amx::kTileBytes, weights);
      for (const int8_t*& of_strip : weights) of_strip += amx::kTileSize;
    }
    int32_t* to[kTiles][kStrips];
    for (size_t t = 0; t < kTiles; ++t) {
      for (size_t s = 0; s < kStrips; ++s) to[t][s] = sums_[t][tap][of_task + s][0];
    }
    Product::store(to);
  }

  // y at a tile's places, from the sums of all taps.
  template <size_t kStrips>
  void finish(size_t t, size_t strip, size_t of_task) {
    constexpr int kTogether = 8;
    for (size_t first = 0; first < kPlaces; first += kTogether) {
      compute_tile<avx512::Lanes, kTogether, kStrips>(
          p_, tiles_[i_ + t] + first, strip * kConvStrip,
          [&](size_t tap, const auto&, auto& sums) __attribute__((always_inline)) {
            CONFPRESS_EACH(f, kTogether) {
              CONFPRESS_EACH(s, static_cast<int>(kStrips)) {
                const int32_t* found = sums_[t][tap][of_task + s][first + f];
                sums[f][s] = _mm512_add_epi32(sums[f][s], avx512::Lanes::load_ints(found));
              }
            }
          });
    }
  }

  const QuantConv2dProblem& p_;
  const amx::EqualTiles& tiles_;
  const size_t i_;
  const size_t bytes_;  // of a piece
  alignas(64) uint8_t codes_[kTiles][kMostTilesOfPiece][amx::kTileSize];
  alignas(64) Sums sums_[kTiles][kMostTaps][kTaskStrips];
};

void multiply(const QuantConv2dProblem& p, Range places, Range strips) noexcept {
  const bool small = p.window.time.taps <= kMostTaps &&
                     p.groups_of_piece() * kConvGroup <= kMostTilesOfPiece * amx::kTileBytes;
  if (!small || places.end - places.begin < kPlaces) {
    return kQuantConv2dAvx512Vnni.multiply(p, places, strips);
  }
  const amx::EqualTiles tiles(places, kPlaces);
  const amx::ShapedTiles shapes(kPlaces);
  amx::by_pairs({0, tiles.count},
                [&](size_t i, auto at_once) { PlaceTiles<at_once>(p, tiles, i).multiply(strips); });
}

}  // namespace

const QuantConv2dKernel kQuantConv2dAmx{sizeof(uint8_t), kPlaces, kTaskStrips, multiply};

}  // namespace confpress

// 6 places x 4 strips, AVX-512 VNNI: 24 accumulators as in linear_int8_avx512vnni.cc. The float
// sums over the rows of the window wait in the first cache.
#include <immintrin.h>

#include "conv2d_tile.h"
#include "lanes_avx512.h"
#include "quant_conv2d.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress {
namespace {

using avx512::Lanes;

constexpr int kTilePlaces = 6;
constexpr int kTileStrips = 4;

__m512i broadcast_group(const std::byte* codes) {
  int word = 0;
  __builtin_memcpy(&word, codes, sizeof word);
  return _mm512_set1_epi32(word);
}

// sums += four products a lane. Written as assembly because GCC 12 copies every accumulator around
// the intrinsic.
void add_products(__m512i& sums, __m512i codes, __m512i weights) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(codes), "v"(weights));
}

// Adds what one tap over time gives.
template <int kPlaces, int kStrips>
void add_row(const QuantConv2dProblem& p, PlaceRows<kPlaces>& places, size_t tap, size_t strip,
             ConvTotals<Lanes, kPlaces, kStrips>& totals) {
  const size_t strip_bytes = p.groups_of_piece() * kConvGroupBytes;
  const int8_t* weights = p.weights_at(tap, strip);
  places.enter(tap);
  __m512i sums[kPlaces][kStrips];
  start_sums<Lanes>(p, places, tap, strip * kConvStrip, sums);
  const std::byte* codes[kPlaces];
  CONFPRESS_UNROLL
  for (int i = 0; i < kPlaces; ++i) codes[i] = places.codes(i);
  const size_t groups = p.groups_of_piece();
#pragma GCC unroll 2
  for (size_t group = 0; group < groups; ++group, weights += kConvGroupBytes) {
    __m512i w[kStrips];
    CONFPRESS_UNROLL
    for (int s = 0; s < kStrips; ++s) w[s] = _mm512_loadu_si512(weights + s * strip_bytes);
    CONFPRESS_UNROLL
    for (int i = 0; i < kPlaces; ++i) {
      const __m512i x = broadcast_group(codes[i] + group * kConvGroup);
      CONFPRESS_UNROLL
      for (int s = 0; s < kStrips; ++s) add_products(sums[i][s], x, w[s]);
    }
  }
  add_scaled<Lanes>(p, places, tap, strip * kConvStrip, sums, totals);
}

template <int kPlaces, int kStrips>
void tile(const QuantConv2dProblem& p, size_t place, size_t strip) {
  PlaceRows<kPlaces> places(p, place);
  ConvTotals<Lanes, kPlaces, kStrips> totals;
  start_totals<Lanes>(p, strip * kConvStrip, totals);
  for (size_t tap = 0; tap < p.window.time.taps; ++tap) add_row(p, places, tap, strip, totals);
  store_totals<Lanes>(p, place, strip * kConvStrip, totals);
}

template <int kStrips>
void column_of_tiles(const QuantConv2dProblem& p, Range places, size_t strip) {
  const Parts tiles = cut(places, ceil_div(places.end - places.begin, kTilePlaces));
  for (size_t i = 0; i < tiles.count; ++i) {
    const Range tile_places = part(tiles, i);
    const size_t place = tile_places.begin;
    switch (tile_places.end - place) {
      case 1:
        tile<1, kStrips>(p, place, strip);
        break;
      case 2:
        tile<2, kStrips>(p, place, strip);
        break;
      case 3:
        tile<3, kStrips>(p, place, strip);
        break;
      case 4:
        tile<4, kStrips>(p, place, strip);
        break;
      case 5:
        tile<5, kStrips>(p, place, strip);
        break;
      default:
        tile<6, kStrips>(p, place, strip);
        break;
    }
  }
}

void multiply(const QuantConv2dProblem& p, Range places, Range strips) noexcept {
  const Parts tiles = cut(strips, ceil_div(strips.end - strips.begin, kTileStrips));
  for (size_t i = 0; i < tiles.count; ++i) {
    const Range tile_strips = part(tiles, i);
    const size_t strip = tile_strips.begin;
    switch (tile_strips.end - strip) {
      case 1:
        column_of_tiles<1>(p, places, strip);
        break;
      case 2:
        column_of_tiles<2>(p, places, strip);
        break;
      case 3:
        column_of_tiles<3>(p, places, strip);
        break;
      default:
        column_of_tiles<4>(p, places, strip);
        break;
    }
  }
}

}  // namespace

const QuantConv2dKernel kQuantConv2dAvx512Vnni{sizeof(uint8_t), kTilePlaces, kTileStrips, multiply};

}  // namespace confpress

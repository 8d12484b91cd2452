// What a tile of places and output channels begins and ends with, on any Lanes, for convolutions of
// codes. A tile's sums and totals are [kPlaces][kRegisters] for the channels from `channel` on;
// each tap over time adds its sums, scaled, to the totals.
#pragma once

#include "base/held.h"
#include "conv2d/conv2d_places.h"

#define CONFPRESS_INLINE [[gnu::always_inline]] static inline
#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress {

template <class L, int kPlaces, int kRegisters>
struct ConvTotals {
  typename L::Vec at[kPlaces][kRegisters];
};

template <class L, int kPlaces, int kRegisters>
CONFPRESS_INLINE void start_totals(const Conv2dProblem& p, size_t channel,
                                   ConvTotals<L, kPlaces, kRegisters>& totals) {
  CONFPRESS_UNROLL
  for (int r = 0; r < kRegisters; ++r) {
    const auto bias = L::load(p.bias + channel + r * L::kWidth);
    CONFPRESS_UNROLL
    for (int i = 0; i < kPlaces; ++i) totals.at[i][r] = bias;
  }
}

// What the accumulators of a tap over time start with: what zero points take away.
template <class L, int kPlaces, int kRegisters>
CONFPRESS_INLINE void start_sums(const Conv2dProblem& p, const PlaceRows<kPlaces>& places,
                                 size_t tap, size_t channel,
                                 typename L::Ints (&sums)[kPlaces][kRegisters]) {
  const int32_t* weight_sums = p.weight_sums + tap * p.strips * kConvStrip + channel;
  CONFPRESS_UNROLL
  for (int r = 0; r < kRegisters; ++r) {
    CONFPRESS_UNROLL
    for (int i = 0; i < kPlaces; ++i) sums[i][r] = L::ints(0);
  }
  if (!places.has_zeros()) return;
  CONFPRESS_UNROLL
  for (int r = 0; r < kRegisters; ++r) {
    const auto of_ones = L::load_ints(weight_sums + r * L::kWidth);
    CONFPRESS_UNROLL
    for (int i = 0; i < kPlaces; ++i) sums[i][r] = L::mul_ints(of_ones, L::ints(-places.zero(i)));
  }
}

template <class L, int kPlaces, int kRegisters>
CONFPRESS_INLINE void add_scaled(const Conv2dProblem& p, const PlaceRows<kPlaces>& places,
                                 size_t tap, size_t channel,
                                 const typename L::Ints (&sums)[kPlaces][kRegisters],
                                 ConvTotals<L, kPlaces, kRegisters>& totals) {
  const float* weight_scales = p.weight_scales + tap * p.strips * kConvStrip + channel;
  CONFPRESS_UNROLL
  for (int r = 0; r < kRegisters; ++r) {
    const auto scales = L::load(weight_scales + r * L::kWidth);
    CONFPRESS_UNROLL
    for (int i = 0; i < kPlaces; ++i) {
      const auto scale = L::mul(L::all(places.scale(i)), scales);
      totals.at[i][r] = L::add(totals.at[i][r], L::mul(L::floats(sums[i][r]), scale));
    }
  }
}

template <class L, ConvActivation kActivation, int kPlaces, int kRegisters>
CONFPRESS_INLINE void store_activated(const Conv2dProblem& p, size_t place, size_t channel,
                                      const ConvTotals<L, kPlaces, kRegisters>& totals) {
  CONFPRESS_UNROLL
  for (int r = 0; r < kRegisters; ++r) {
    const size_t first = channel + r * L::kWidth;
    if (first >= p.channels) break;
    CONFPRESS_UNROLL
    for (int i = 0; i < kPlaces; ++i) {
      L::store(p.y + (place + i) * p.channels + first, activated<L>(kActivation, totals.at[i][r]),
               p.channels - first);
    }
  }
}

template <class L, int kPlaces, int kRegisters>
CONFPRESS_INLINE void store_totals(const Conv2dProblem& p, size_t place, size_t channel,
                                   const ConvTotals<L, kPlaces, kRegisters>& totals) {
  switch (p.activation) {
    case ConvActivation::kNone:
      return store_activated<L, ConvActivation::kNone>(p, place, channel, totals);
    case ConvActivation::kRelu:
      return store_activated<L, ConvActivation::kRelu>(p, place, channel, totals);
    case ConvActivation::kSilu:
      return store_activated<L, ConvActivation::kSilu>(p, place, channel, totals);
  }
}

// A tile's outputs. `add(tap, codes, sums)` adds what a tap over time gives, of which place i has
// its piece of codes at `codes[i]`.
template <class L, int kPlaces, int kRegisters, class Add>
CONFPRESS_INLINE void compute_tile(const Conv2dProblem& p, size_t place, size_t channel,
                                   const Add& add) {
  PlaceRows<kPlaces> places(p, place);
  ConvTotals<L, kPlaces, kRegisters> totals;
  start_totals<L>(p, channel, totals);
  for (size_t tap = 0; tap < p.window.time.taps; ++tap) {
    places.enter(tap);
    const std::byte* codes[kPlaces];
    CONFPRESS_UNROLL
    for (int i = 0; i < kPlaces; ++i) codes[i] = held(places.codes(i));
    typename L::Ints sums[kPlaces][kRegisters];
    start_sums<L>(p, places, tap, channel, sums);
    add(tap, codes, sums);
    add_scaled<L>(p, places, tap, channel, sums, totals);
  }
  store_totals<L>(p, place, channel, totals);
}

}  // namespace confpress

#undef CONFPRESS_INLINE
#undef CONFPRESS_UNROLL

// Convolutions of codes one place and one strip of output channels at a time, in plain C++.
#pragma once

#include "conv2d/conv2d_places.h"
#include "lanes/lanes_portable.h"

namespace confpress::portable {

// `add_piece(tap, strip, codes, sums)` adds what a tap over time gives to the strip's 16 sums.
template <class AddPiece>
void one_place(const Conv2dProblem& p, size_t index, size_t strip, const AddPiece& add_piece) {
  const size_t first = strip * kConvStrip;
  PlaceRows<1> place(p, index);
  float totals[kConvStrip];
  for (size_t i = 0; i < kConvStrip; ++i) totals[i] = p.bias[first + i];
  for (size_t tap = 0; tap < p.window.time.taps; ++tap) {
    const size_t at = tap * p.strips * kConvStrip + first;
    int32_t sums[kConvStrip];
    place.enter(tap);
    for (size_t i = 0; i < kConvStrip; ++i) sums[i] = -place.zero(0) * p.weight_sums[at + i];
    add_piece(tap, strip, reinterpret_cast<const uint8_t*>(place.codes(0)), sums);
    for (size_t i = 0; i < kConvStrip; ++i) {
      totals[i] += static_cast<float>(sums[i]) * (place.scale(0) * p.weight_scales[at + i]);
    }
  }
  float* y = p.y + index * p.channels + first;
  for (size_t i = 0; i < kConvStrip && first + i < p.channels; i += Lanes::kWidth) {
    const Lanes::Vec result = activated<Lanes>(p.activation, Lanes::load(totals + i));
    Lanes::store(y + i, result, p.channels - first - i);
  }
}

template <class AddPiece>
void each_place(const Conv2dProblem& p, Range places, Range strips, const AddPiece& add_piece) {
  for (size_t place = places.begin; place < places.end; ++place) {
    for (size_t strip = strips.begin; strip < strips.end; ++strip) {
      one_place(p, place, strip, add_piece);
    }
  }
}

}  // namespace confpress::portable

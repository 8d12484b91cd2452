#include "lanes_portable.h"
#include "quant_conv2d_places.h"

namespace confpress {
namespace {

using portable::Lanes;

// The 16 sums of one place and one strip over all products of a row.
void sum_row(const QuantConv2dProblem& p, const PlaceRows<1>& place, const int8_t* weights,
             const int32_t* weight_sums, int32_t* sums) {
  for (size_t i = 0; i < kConvStrip; ++i) sums[i] = -place.zero(0) * weight_sums[i];
  const auto* codes = reinterpret_cast<const uint8_t*>(place.codes(0));
  for (size_t group = 0; group < groups_of_piece(p); ++group, codes += kConvGroup) {
    for (size_t i = 0; i < kConvStrip; ++i, weights += kConvGroup) {
      sums[i] += codes[0] * weights[0] + codes[1] * weights[1] + codes[2] * weights[2] +
                 codes[3] * weights[3];
    }
  }
}

void one_place(const QuantConv2dProblem& p, size_t index, size_t strip) {
  const size_t first = strip * kConvStrip;
  PlaceRows<1> place(p, index);
  float totals[kConvStrip];
  for (size_t i = 0; i < kConvStrip; ++i) totals[i] = p.bias[first + i];
  for (size_t tap = 0; tap < p.window.time.taps; ++tap) {
    const size_t at = tap * p.strips * kConvStrip + first;
    int32_t sums[kConvStrip];
    place.enter(tap);
    sum_row(p, place, weights_at(p, tap, strip), p.weight_sums + at, sums);
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

void multiply(const QuantConv2dProblem& p, Range places, Range strips) noexcept {
  for (size_t place = places.begin; place < places.end; ++place) {
    for (size_t strip = strips.begin; strip < strips.end; ++strip) one_place(p, place, strip);
  }
}

}  // namespace

const QuantConv2dKernel kQuantConv2dPortable{sizeof(uint8_t), 4, 1, multiply};

}  // namespace confpress

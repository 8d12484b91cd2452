// Where a tile's places of the window read their codes.
#pragma once

#include "quant_conv2d.h"

namespace confpress {

// So many neighbouring places from one on, in the row of codes that one tap over time meets.
template <int kPlaces>
class PlaceRows {
 public:
  PlaceRows(const QuantConv2dProblem& problem, size_t place) : p_(problem) {
    for (int i = 0; i < kPlaces; ++i) {
      const size_t row = (place + i) / p_.places_columns;
      const size_t batch = row / p_.places_time;
      column_[i] =
          (place + i) % p_.places_columns * p_.window.columns.stride - p_.window.columns.before;
      batch_[i] = batch * p_.time;
      start_[i] = row % p_.places_time * p_.window.time.stride - p_.window.time.before;
    }
  }

  // The rows of a tap over time. Beyond the input they are zero codes of scale zero.
  void enter(size_t tap) {
    any_zero_ = 0;
    for (int i = 0; i < kPlaces; ++i) {
      const size_t time = start_[i] + tap;  // in front of the first row it is huge
      const bool inside = time < p_.time;
      const size_t row = inside ? batch_[i] + time : p_.rows;
      zeros_[i] = p_.zeros + row * p_.code_stride;
      codes_[i] = inside ? p_.codes + row * p_.columns * p_.code_stride : nullptr;
      scale_[i] = inside ? p_.scales[row] : 0.0f;
      zero_[i] = inside ? p_.zero_points[row] : 0;
      any_zero_ |= zero_[i];
    }
  }

  // The codes of all input channels at a tap over columns.
  const std::byte* codes(int i, size_t tap) const {
    const size_t column = column_[i] + tap;
    return codes_[i] != nullptr && column < p_.columns ? codes_[i] + column * p_.code_stride
                                                       : zeros_[i];
  }
  float scale(int i) const { return scale_[i]; }
  int32_t zero(int i) const { return zero_[i]; }
  bool has_zeros() const { return any_zero_ != 0; }

 private:
  const QuantConv2dProblem& p_;
  size_t batch_[kPlaces];  // first row of its utterance
  size_t start_[kPlaces];
  size_t column_[kPlaces];
  const std::byte* codes_[kPlaces];
  const std::byte* zeros_[kPlaces];
  float scale_[kPlaces];
  int32_t zero_[kPlaces];
  int32_t any_zero_ = 0;
};

// The weights of a strip at a tap over time.
static inline const int8_t* weights_at(const QuantConv2dProblem& p, size_t tap, size_t strip) {
  return p.weights + (tap * p.strips + strip) * p.window.columns.taps * p.groups * kConvGroupBytes;
}

}  // namespace confpress

// Where a tile's places of the window read their codes.
#pragma once

#include "conv2d/conv2d_problem.h"

namespace confpress {

// So many neighbouring places from one on: the pieces that one tap over time reads there.
template <int kPlaces>
class PlaceRows {
 public:
  PlaceRows(const Conv2dProblem& problem, size_t place) : p_(problem) {
    // One division for all: each place comes after the one before.
    const Quotient row = divided(place, p_.places_columns);
    const Quotient utterance = divided(row.whole, p_.places_time);
    size_t column = row.rest;
    size_t time = utterance.rest;
    size_t batch = utterance.whole * p_.time;
    for (int i = 0; i < kPlaces; ++i) {
      column_[i] = column;
      batch_[i] = batch;
      start_[i] = time * p_.window.time.stride - p_.window.time.before;
      if (++column < p_.places_columns) continue;
      column = 0;
      if (++time < p_.places_time) continue;
      time = 0;
      batch += p_.time;
    }
  }

  // The rows of a tap over time. Beyond the input they are zero codes of scale zero.
  void enter(size_t tap) {
    any_zero_ = 0;
    for (int i = 0; i < kPlaces; ++i) {
      const size_t time = start_[i] + tap;  // in front of the first row it is huge
      const bool inside = time < p_.time;
      const size_t row = batch_[i] + time;
      codes_[i] = inside ? piece(row, column_[i]) : p_.nothing;
      scale_[i] = inside ? p_.scales[row] : 0.0f;
      zero_[i] = inside ? p_.zero_points[row] : 0;
      any_zero_ |= zero_[i];
    }
  }

  const std::byte* codes(int i) const { return codes_[i]; }
  float scale(int i) const { return scale_[i]; }
  int32_t zero(int i) const { return zero_[i]; }
  bool has_zeros() const { return any_zero_ != 0; }

 private:
  const std::byte* piece(size_t row, size_t place) const {
    if (place >= p_.left && place < p_.right) {
      const size_t column = place * p_.window.columns.stride - p_.window.columns.before;
      return p_.codes + (row * p_.columns + column) * p_.code_stride;
    }
    const size_t ends = p_.left + p_.places_columns - p_.right;
    const size_t end = place < p_.left ? place : p_.left + place - p_.right;
    return p_.ends + (row * ends + end) * p_.window.columns.taps * p_.code_stride;
  }

  const Conv2dProblem& p_;
  size_t column_[kPlaces];
  size_t batch_[kPlaces];  // first row of its utterance
  size_t start_[kPlaces];
  const std::byte* codes_[kPlaces];
  float scale_[kPlaces];
  int32_t zero_[kPlaces];
  int32_t any_zero_ = 0;
};

}  // namespace confpress

// The kernel of DepthwiseConv2d on any Lanes: at one column as many channels as registers can hold,
// over all taps.
#pragma once

#include "depthwise_conv2d.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress {

template <class L>
class DepthwiseConv2d {
 public:
  static void row(const DepthwiseConv2dProblem& problem, size_t place, float* y) noexcept {
    if (problem.channels_in == 1) {
      DepthwiseConv2d(problem, place).template columns<true>(y);
    } else {
      DepthwiseConv2d(problem, place).template columns<false>(y);
    }
  }

 private:
  using Vec = typename L::Vec;
  // Independent sums that hide the latency of additions.
  static constexpr int kSums = 8;

  DepthwiseConv2d(const DepthwiseConv2dProblem& problem, size_t place)
      : p_(problem),
        rows_(taps_inside(problem.window.time, problem.time, place)),
        // May point in front of the first row; taps inside never do.
        time_(place * problem.window.time.stride - problem.window.time.before) {}

  template <bool kOneChannel>
  void columns(float* y) const {
    const size_t places = places_of(p_.window.columns, p_.columns);
    for (size_t place = 0; place < places; ++place, y += p_.channels) {
      const Range taps = taps_inside(p_.window.columns, p_.columns, place);
      const size_t column = place * p_.window.columns.stride - p_.window.columns.before;
      chunks<kSums, kOneChannel>(taps, column, 0, y);
    }
  }

  // The channels from one on, so many registers at once as long as they are full, then fewer.
  template <int kCount, bool kOneChannel>
  void chunks(Range taps, size_t column, size_t channel, float* y) const {
    for (; channel + kCount * L::kWidth <= p_.channels; channel += kCount * L::kWidth) {
      sums<kCount, kOneChannel>(taps, column, channel, kCount * L::kWidth, y);
    }
    if constexpr (kCount > 1) {
      chunks<kCount / 2, kOneChannel>(taps, column, channel, y);
    } else if (channel < p_.channels) {
      sums<1, kOneChannel>(taps, column, channel, p_.channels - channel, y);
    }
  }

  template <int kCount, bool kOneChannel>
  void sums(Range taps, size_t column, size_t channel, size_t lanes, float* y) const {
    Vec sums[kCount];
    CONFPRESS_UNROLL
    for (int i = 0; i < kCount; ++i) sums[i] = L::load(p_.bias + channel + i * L::kWidth);
    for (size_t row = rows_.begin; row < rows_.end; ++row) {
      for (size_t tap = taps.begin; tap < taps.end; ++tap) {
        const float* w = p_.filters + (row * p_.window.columns.taps + tap) * p_.width + channel;
        const float* x = p_.x + ((time_ + row) * p_.columns + column + tap) * p_.channels_in;
        CONFPRESS_UNROLL
        for (int i = 0; i < kCount; ++i) {
          const Vec input = kOneChannel ? L::all(*x) : load(x + channel + i * L::kWidth, lanes);
          sums[i] = L::fma(L::load(w + i * L::kWidth), input, sums[i]);
        }
      }
    }
    CONFPRESS_UNROLL
    for (int i = 0; i < kCount; ++i) {
      float* out = y + channel + i * L::kWidth;
      const Vec result = activated<L>(p_.activation, sums[i]);
      if (lanes >= L::kWidth) {
        L::store(out, result);
      } else {
        L::store(out, result, lanes);
      }
    }
  }

  static Vec load(const float* x, size_t lanes) {
    return lanes >= L::kWidth ? L::load(x) : L::load(x, lanes);
  }

  const DepthwiseConv2dProblem& p_;
  const Range rows_;
  const size_t time_;
};

}  // namespace confpress

#undef CONFPRESS_UNROLL

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
  // Registers of sums at one column; one more holds the input, and filters are read from memory.
  static constexpr int kSums = 12;

  DepthwiseConv2d(const DepthwiseConv2dProblem& problem, size_t place)
      : p_(problem),
        rows_(taps_inside(problem.window.time, problem.time, place)),
        // In front of the first row it wraps around; with the first tap inside it is right again.
        time_(place * problem.window.time.stride - problem.window.time.before) {}

  template <bool kOneChannel>
  void columns(float* y) const {
    const size_t places = places_of(p_.window.columns, p_.columns);
    const size_t strips = ceil_div(p_.channels, L::kWidth);
    const Parts chunks = cut({0, strips}, ceil_div(strips, kSums));
    for (size_t place = 0; place < places; ++place, y += p_.channels) {
      for (size_t chunk = 0; chunk < chunks.count; ++chunk) {
        sums_of<kSums, kOneChannel>(part(chunks, chunk), place, y);
      }
    }
  }

  // Chooses the code for as many registers as there are strips.
  template <int kCount, bool kOneChannel>
  void sums_of(Range strips, size_t place, float* y) const {
    if constexpr (kCount > 1) {
      if (strips.end - strips.begin < kCount) {
        return sums_of<kCount - 1, kOneChannel>(strips, place, y);
      }
    }
    const size_t channel = strips.begin * L::kWidth;
    if (strips.end * L::kWidth <= p_.channels) {
      sums<kCount, kOneChannel, false>(place, channel, y + channel);
    } else {
      sums<kCount, kOneChannel, true>(place, channel, y + channel);
    }
  }

  // With kTail the last register has fewer channels.
  template <int kCount, bool kOneChannel, bool kTail>
  void sums(size_t place, size_t channel, float* y) const {
    const Range taps = taps_inside(p_.window.columns, p_.columns, place);
    const size_t column = place * p_.window.columns.stride - p_.window.columns.before;
    const size_t left = p_.channels - channel - (kCount - 1) * L::kWidth;
    Vec sums[kCount];
    CONFPRESS_UNROLL
    for (int i = 0; i < kCount; ++i) sums[i] = L::load(p_.bias + channel + i * L::kWidth);
    for (size_t row = rows_.begin; row < rows_.end; ++row) {
      const size_t first = (time_ + row) * p_.columns + column + taps.begin;
      const float* x = p_.x + first * p_.channels_in + (kOneChannel ? 0 : channel);
      const float* w =
          p_.filters + (row * p_.window.columns.taps + taps.begin) * p_.width + channel;
      for (size_t tap = taps.begin; tap < taps.end; ++tap, x += p_.channels_in, w += p_.width) {
        const Vec shared = L::all(*x);
        CONFPRESS_UNROLL
        for (int i = 0; i < kCount; ++i) {
          const Vec input = kOneChannel ? shared : load<kTail>(x, i, kCount, left);
          sums[i] = L::fma(L::load(w + i * L::kWidth), input, sums[i]);
        }
      }
    }
    CONFPRESS_UNROLL
    for (int i = 0; i < kCount; ++i) {
      const Vec result = activated<L>(p_.activation, sums[i]);
      if (kTail && i == kCount - 1) {
        L::store(y + i * L::kWidth, result, left);
      } else {
        L::store(y + i * L::kWidth, result);
      }
    }
  }

  template <bool kTail>
  static Vec load(const float* x, int i, int count, size_t left) {
    const float* from = x + i * L::kWidth;
    return kTail && i == count - 1 ? L::load(from, left) : L::load(from);
  }

  const DepthwiseConv2dProblem& p_;
  const Range rows_;
  const size_t time_;
};

}  // namespace confpress

#undef CONFPRESS_UNROLL

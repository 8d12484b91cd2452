// The kernel of DepthwiseConv2d on any Lanes: at one column as many channels as registers can hold,
// over all taps.
#pragma once

#include "conv2d/depthwise_conv2d.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress {

// What is convolved.
enum class DepthwiseInput { kOneChannel, kChannels, kCodes };

template <class L>
class DepthwiseConv2d {
 public:
  static void row(const DepthwiseConv2dProblem& problem, size_t place, float* y) noexcept {
    const DepthwiseConv2d of(problem, place);
    if (problem.codes != nullptr) return of.template columns<DepthwiseInput::kCodes>(y);
    if (problem.channels_in == 1) return of.template columns<DepthwiseInput::kOneChannel>(y);
    of.template columns<DepthwiseInput::kChannels>(y);
  }

 private:
  using Vec = typename L::Vec;
  // Registers of sums at one column; one more holds the input, and filters are read from memory.
  // Codes have sums of a time row, too.
  static constexpr int sums_at_once(DepthwiseInput input) {
    return input != DepthwiseInput::kCodes ? 12 : L::kWidth == 16 ? 12 : 6;
  }

  DepthwiseConv2d(const DepthwiseConv2dProblem& problem, size_t place)
      : p_(problem),
        rows_(taps_inside(problem.window.time, problem.time, place)),
        // In front of the first row it wraps around; with the first tap inside it is right again.
        time_(place * problem.window.time.stride - problem.window.time.before) {}

  template <DepthwiseInput kInput>
  void columns(float* y) const {
    const size_t places = places_of(p_.window.columns, p_.columns);
    const size_t strips = ceil_div(p_.channels, L::kWidth);
    constexpr int kSums = sums_at_once(kInput);
    const Parts chunks = cut({0, strips}, ceil_div(strips, kSums));
    for (size_t place = 0; place < places; ++place, y += p_.channels) {
      for (size_t chunk = 0; chunk < chunks.count; ++chunk) {
        sums_of<kSums, kInput>(part(chunks, chunk), place, y);
      }
    }
  }

  // Chooses the code for as many registers as there are strips.
  template <int kCount, DepthwiseInput kInput>
  void sums_of(Range strips, size_t place, float* y) const {
    if constexpr (kCount > 1) {
      if (strips.end - strips.begin < kCount) {
        return sums_of<kCount - 1, kInput>(strips, place, y);
      }
    }
    const size_t channel = strips.begin * L::kWidth;
    if (strips.end * L::kWidth <= p_.channels) {
      sums<kCount, kInput, false>(place, channel, y + channel);
    } else {
      sums<kCount, kInput, true>(place, channel, y + channel);
    }
  }

  // With kTail the last register has fewer channels.
  template <int kCount, DepthwiseInput kInput, bool kTail>
  void sums(size_t place, size_t channel, float* y) const {
    const Range taps = taps_inside(p_.window.columns, p_.columns, place);
    const size_t column = place * p_.window.columns.stride - p_.window.columns.before;
    const size_t left = p_.channels - channel - (kCount - 1) * L::kWidth;
    Vec sums[kCount];
    CONFPRESS_UNROLL
    for (int i = 0; i < kCount; ++i) sums[i] = L::load(p_.bias + channel + i * L::kWidth);
    for (size_t row = rows_.begin; row < rows_.end; ++row) {
      const size_t at = ((time_ + row) * p_.columns + column + taps.begin) * p_.channels_in;
      const float* w =
          p_.filters + (row * p_.window.columns.taps + taps.begin) * p_.width + channel;
      const size_t count = taps.end - taps.begin;
      if constexpr (kInput == DepthwiseInput::kCodes) {
        add_codes<kCount, kTail>(time_ + row, p_.codes + at + channel, w, count, left, sums);
      } else {
        constexpr bool kOneChannel = kInput == DepthwiseInput::kOneChannel;
        add<kCount, kOneChannel, kTail>(p_.x + at + (kOneChannel ? 0 : channel), w, count, left,
                                        sums);
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

  // Adds so many taps of one time row.
  template <int kCount, bool kOneChannel, bool kTail>
  [[gnu::always_inline]] void add(const float* x, const float* w, size_t taps, size_t left,
                                  Vec (&sums)[kCount]) const {
    for (size_t tap = 0; tap < taps; ++tap, x += p_.channels_in, w += p_.width) {
      const Vec shared = L::all(*x);
      CONFPRESS_UNROLL
      for (int i = 0; i < kCount; ++i) {
        const Vec input = kOneChannel ? shared : load<kTail>(x, i, kCount, left);
        sums[i] = L::fma(L::load(w + i * L::kWidth), input, sums[i]);
      }
    }
  }

  // The same of codes: the row's scale counts once for all of its taps.
  template <int kCount, bool kTail>
  [[gnu::always_inline]] void add_codes(size_t time, const uint8_t* codes, const float* w,
                                        size_t taps, size_t left, Vec (&sums)[kCount]) const {
    const Vec zero = L::all(p_.zero_points[time]);
    Vec of_row[kCount];
    CONFPRESS_UNROLL
    for (int i = 0; i < kCount; ++i) of_row[i] = L::zero();
    for (size_t tap = 0; tap < taps; ++tap, codes += p_.channels_in, w += p_.width) {
      CONFPRESS_UNROLL
      for (int i = 0; i < kCount; ++i) {
        const Vec input = L::sub(load<kTail>(codes, i, kCount, left), zero);
        of_row[i] = L::fma(L::load(w + i * L::kWidth), input, of_row[i]);
      }
    }
    const Vec scale = L::all(p_.scales[time]);
    CONFPRESS_UNROLL
    for (int i = 0; i < kCount; ++i) sums[i] = L::fma(of_row[i], scale, sums[i]);
  }

  template <bool kTail, class Number>
  static Vec load(const Number* x, int i, int count, size_t left) {
    const Number* from = x + i * L::kWidth;
    return kTail && i == count - 1 ? L::load(from, left) : L::load(from);
  }

  const DepthwiseConv2dProblem& p_;
  const Range rows_;
  const size_t time_;
};

}  // namespace confpress

#undef CONFPRESS_UNROLL

// The kernel of ConvModule on any Lanes.
#pragma once

#include "lanes/lanes_math.h"
#include "modules/conv_module.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 16")

namespace confpress {

template <class L>
class ConvModuleStrip {
 public:
  static void convolve(const ConvModuleProblem& problem, size_t strip, Range frames) noexcept {
    ConvModuleStrip work(problem, strip);
    work.gate(frames);
    const size_t count = frames.end - frames.begin;
    for (size_t done = 0; done < count; done += kFrames) {
      const size_t left = count - done;
      work.tile(frames.begin + done, done, left < kFrames ? left : kFrames);
    }
  }

 private:
  using Vec = typename L::Vec;
  static constexpr size_t kWidth = L::kWidth;
  static constexpr size_t kFrames = L::kTileFrames;

  ConvModuleStrip(const ConvModuleProblem& problem, size_t strip)
      : p_(problem),
        filters_(problem.filters + strip * problem.taps * kWidth),
        bias_(problem.bias + strip * kWidth),
        first_(strip * kWidth),
        lanes_(problem.channels - strip * kWidth) {}

  // What the filters read for these frames: gated values, zeros where masked or outside.
  void gate(Range frames) {
    const size_t count = frames.end - frames.begin + p_.taps - 1;
    for (size_t i = 0; i < count; ++i) {
      const size_t place = frames.begin + i;
      const size_t frame = place - p_.before;
      const bool outside = place < p_.before || frame >= p_.frames;
      if (outside || (p_.mask != nullptr && p_.mask[frame * p_.mask_frame] != 0)) {
        L::store(gated_[i], L::zero());
        continue;
      }
      const size_t start = frame * p_.stride + first_;
      const Vec gate = sigmoid_of<L>(L::load(p_.gates + start, lanes_));
      L::store(gated_[i], L::mul(L::load(p_.values + start, lanes_), gate));
    }
    // A last tile of fewer frames also reads beyond them.
    for (size_t i = count; i < count + kFrames; ++i) L::store(gated_[i], L::zero());
  }

  void tile(size_t frame, size_t offset, size_t count) {
    Vec sums[kFrames];
    const Vec bias = L::load(bias_);
    CONFPRESS_UNROLL
    for (size_t i = 0; i < kFrames; ++i) sums[i] = bias;
    for (size_t tap = 0; tap < p_.taps; ++tap) {
      const Vec filter = L::load(filters_ + tap * kWidth);
      CONFPRESS_UNROLL
      for (size_t i = 0; i < kFrames; ++i) {
        sums[i] = L::fma(filter, L::load(gated_[offset + tap + i]), sums[i]);
      }
    }
    if (p_.activation == Activation::kSilu) {
      CONFPRESS_UNROLL
      for (size_t i = 0; i < kFrames; ++i) sums[i] = L::mul(sums[i], sigmoid_of<L>(sums[i]));
    }
    float* y = p_.y + frame * p_.channels + first_;
    CONFPRESS_UNROLL
    for (size_t i = 0; i < kFrames; ++i) {
      if (i < count) L::store(y + i * p_.channels, sums[i], lanes_);
    }
  }

  const ConvModuleProblem& p_;
  const float* filters_;
  const float* bias_;
  const size_t first_;
  const size_t lanes_;  // channels from the first on, perhaps more than a register has
  alignas(64) float gated_[kConvFrames + kMostTaps + kFrames][kWidth];
};

template <class L>
static constexpr ConvModuleKernel conv_module_kernel() {
  return {L::kWidth, ConvModuleStrip<L>::convolve};
}

}  // namespace confpress

#undef CONFPRESS_UNROLL

// All frames of an input, quantised on the session's threads.
#pragma once

#include <algorithm>

#include "custom_op.h"
#include "frame_codes.h"
#include "ranges.h"

namespace confpress {

class QuantizedFrames {
 public:
  // `prepare(frame, codes)` turns a frame's codes into what the kernel reads.
  template <class Prepare>
  QuantizedFrames(const KernelContext& context, const FrameQuantizer& quantizer, const float* x,
                  size_t frames, size_t columns, const Prepare& prepare)
      : stride_(stride(columns * quantizer.code_bytes, kCodeRun * quantizer.code_bytes)),
        frames_(frames),
        scratch_(context, frames * (stride_ + sizeof(float))) {
    context.parallel_for(ceil_div(frames, kFramesOfTask), [&](size_t task) noexcept {
      const size_t end = std::min(frames, (task + 1) * kFramesOfTask);
      for (size_t i = task * kFramesOfTask; i < end; ++i) {
        const float* frame = x + i * columns;
        std::byte* codes = scratch_.data() + i * stride_;
        const float scale = quantizer.scale(frame, columns);
        scales_begin()[i] = scale;
        quantizer.codes(frame, columns, scale, codes);
        prepare(i, codes);
      }
    });
  }

  QuantizedFrames(const KernelContext& context, const FrameQuantizer& quantizer, const float* x,
                  size_t frames, size_t columns)
      : QuantizedFrames(context, quantizer, x, frames, columns, [](size_t, void*) {}) {}

  const std::byte* codes() const { return scratch_.data(); }
  size_t codes_stride() const { return stride_; }  // bytes from one frame to the next
  const float* scales() const { return scales_begin(); }

 private:
  static constexpr size_t kFramesOfTask = 8;
  static constexpr size_t kCacheLine = 64;

  // An odd number of cache lines, so that the frames of a tile do not fall into the same sets.
  static size_t stride(size_t bytes, size_t run) {
    return (ceil_div(ceil_div(bytes, run) * run, kCacheLine) | 1) * kCacheLine;
  }
  float* scales_begin() const {
    return reinterpret_cast<float*>(scratch_.data() + frames_ * stride_);
  }

  const size_t stride_;
  const size_t frames_;
  const KernelContext::Scratch scratch_;
};

}  // namespace confpress

// All frames of an input, quantised on the session's threads.
#pragma once

#include <algorithm>

#include "base/custom_op.h"
#include "base/ranges.h"
#include "frames/frame_codes.h"

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
    const size_t near = kNearBytes / (columns * sizeof(float));
    const size_t together = std::clamp<size_t>(near, 1, kFramesOfTask);
    context.parallel_for(ceil_div(frames, together), [&](size_t task) noexcept {
      const size_t begin = task * together;
      const size_t end = std::min(frames, begin + together);
      float* scales = scales_begin();
      for (size_t i = begin; i < end; ++i) scales[i] = quantizer.scale(x + i * columns, columns);
      for (size_t i = begin; i < end; ++i) {
        std::byte* codes = scratch_.data() + i * stride_;
        quantizer.codes(x + i * columns, columns, scales[i], codes);
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
  // Of frames that are read twice, for their scale and for their codes: half the first cache.
  static constexpr size_t kNearBytes = 16 * 1024;
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

// What products in int8 have in common: frames that are quantised as they are loaded, products of
// four codes at once, and the end of a sum.
//
// Every block of threads finds its frames' scales itself: nothing is kept between two launches, so
// there is no memory to ask for, and X is read once more.
#pragma once

#include <cfloat>
#include <cmath>

#include "cuda/product_block.h"
#include "frames/frame_codes.h"
#include "lanes/activation_portable.h"

namespace confpress::cuda {

// sum + a · b of four int8 each.
CONFPRESS_HOST_DEVICE int32_t dot(uint32_t a, uint32_t b, int32_t sum) {
#if defined(__CUDA_ARCH__)
  return __dp4a(static_cast<int>(a), static_cast<int>(b), sum);
#else
  for (int i = 0; i < 4; ++i) {
    sum += static_cast<int8_t>(a >> 8 * i) * static_cast<int8_t>(b >> 8 * i);
  }
  return sum;
#endif
}

// What an integer sum ends with.
struct Int8Output {
  const float* scales;  // [rows]
  const float* bias;    // [rows]
  float* y;             // [frames, rows]
  Activation activation;

  CONFPRESS_HOST_DEVICE void store(int64_t frame, float frame_scale, int row, int rows,
                                   int32_t sum) const {
    const float product = static_cast<float>(sum) * frame_scale;
    const float z = product * scales[row] + bias[row];
    y[frame * rows + row] = portable::activate(activation, z);
  }
};

// The scales of a block's frames, of which there are at most so many.
template <int kMostFrames>
struct Int8Frames {
  static constexpr int kLanes = 32;  // threads that look for a frame's largest magnitude
  float scales[kMostFrames];         // NaN where a frame holds an infinity or NaN
  // One element more than lanes, as in the sums.
  struct Scratch {
    float largest[kMostFrames][kLanes + 1];
  };

  // x: [existing, columns], the block's frames.
  template <class Threads>
  CONFPRESS_HOST_DEVICE void find(const float* x, int columns, int existing, Threads& threads,
                                  Scratch& scratch) {
    threads.each([&](int thread, auto&) {
      const int lane = thread % kLanes;
      for (int frame = thread / kLanes; frame < existing; frame += kThreads / kLanes) {
        const float* of_frame = x + static_cast<int64_t>(frame) * columns;
        float largest = kEpsilon;
        for (int column = lane; column < columns; column += kLanes) {
          const float magnitude = std::fabs(of_frame[column]);
          // NaN compares with nothing, and counts as infinity.
          if (!(magnitude <= largest)) largest = magnitude <= FLT_MAX ? magnitude : HUGE_VALF;
        }
        scratch.largest[frame][lane] = largest;
      }
    });
    threads.each([&](int thread, auto&) {
      if (thread >= existing) return;
      float largest = kEpsilon;
      for (int lane = 0; lane < kLanes; ++lane) {
        const float each = scratch.largest[thread][lane];
        if (each > largest) largest = each;
      }
      const float none = largest - largest;  // NaN of an infinity
      scales[thread] = largest / kQmax + none;
    });
  }

  CONFPRESS_HOST_DEVICE int8_t code(float x, int frame) const {
    const float s = scales[frame];
    return s <= FLT_MAX ? static_cast<int8_t>(std::rint(x / s)) : int8_t{0};
  }
};

// Frames of a tile that exist.
CONFPRESS_HOST_DEVICE int existing_frames(const Shape& shape, int64_t first_frame, int frames) {
  const int64_t left = shape.frames - first_frame;
  return static_cast<int>(frames < left ? frames : left);
}

}  // namespace confpress::cuda

// The window of a two-dimensional convolution over time rows and their columns (frequency bins).
// Everything is `static`: files of different instruction sets include this, and no copy compiled
// for one may serve another.
#pragma once

#include <cstddef>

#include "base/ranges.h"

namespace confpress {

// One axis: `taps` of the window, `stride` from one place of it to the next, and how many zeros
// stand in front and behind, each fewer than there are taps, so that no place misses the input.
struct WindowAxis {
  size_t taps;
  size_t stride;
  size_t before;
  size_t after;
};

struct Window {
  WindowAxis time;
  WindowAxis columns;
};

// How many places a window has on an input of this size.
static inline size_t places_of(const WindowAxis& axis, size_t size) {
  const size_t padded = axis.before + size + axis.after;
  return padded < axis.taps ? 0 : (padded - axis.taps) / axis.stride + 1;
}

// The taps that meet the input at a place; tap t meets element place · stride + t - before.
static inline Range taps_inside(const WindowAxis& axis, size_t size, size_t place) {
  const size_t start = place * axis.stride;
  const size_t end = size + axis.before - start;
  return {start < axis.before ? axis.before - start : 0, end < axis.taps ? end : axis.taps};
}

}  // namespace confpress

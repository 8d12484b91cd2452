// Ranges of frames and strips. Everything is `static`: files of different instruction sets include
// this, and no copy compiled for one may serve another.
#pragma once

#include <cstddef>

namespace confpress {

struct Range {
  size_t begin;
  size_t end;
};

static constexpr size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

// Part i of a range cut into nearly equal parts: a last part of one element would be slow.
static constexpr Range part(Range range, size_t parts, size_t i) {
  const size_t count = range.end - range.begin;
  return {range.begin + count * i / parts, range.begin + count * (i + 1) / parts};
}

}  // namespace confpress

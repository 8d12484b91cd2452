// Ranges of frames and strips. Everything is `static`: files of different instruction sets include
// this, and no copy compiled for one may serve another.
#pragma once

#include <cstddef>
#include <cstdint>

namespace confpress {

struct Range {
  size_t begin;
  size_t end;
};

static constexpr size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

struct Quotient {
  size_t whole;
  size_t rest;
};

// a / b. Dividing 64 bits takes some 40 cycles on older processors, 32 bits half of that.
static inline Quotient divided(size_t a, size_t b) {
  if (((a | b) >> 32) == 0) {
    return {static_cast<uint32_t>(a) / static_cast<uint32_t>(b),
            static_cast<uint32_t>(a) % static_cast<uint32_t>(b)};
  }
  return {a / b, a % b};
}

// A range cut into nearly equal parts: a last part of one element would be slow. Cut once, as the
// parts of a loop then need no division.
struct Parts {
  size_t begin;
  size_t count;
  size_t size;
  size_t longer;  // so many parts have one element more
};

static inline Parts cut(Range range, size_t count) {
  if (count == 0) return {range.begin, 0, 0, 0};
  const Quotient size = divided(range.end - range.begin, count);
  return {range.begin, count, size.whole, size.rest};
}

static inline Range part(const Parts& parts, size_t i) {
  const size_t first = parts.begin + i * parts.size + (i < parts.longer ? i : parts.longer);
  return {first, first + parts.size + (i < parts.longer ? 1 : 0)};
}

// Part i alone of a range cut into so many.
static inline Range part(Range range, size_t parts, size_t i) { return part(cut(range, parts), i); }

}  // namespace confpress

// Floats in registers of four, in the vector extension that GCC and Clang share, so that SSE2 and
// NEON are used without naming them.
//
// A Lanes class is what the float kernels are written against; each instruction set has one:
//   kWidth                     floats of a register, a multiple of 4
//   kTileRows x kTileStrips    accumulators of a matrix product that the registers can hold
//   kTileFrames                accumulators of a convolution over time
//   Vec, Mask                  a register, and a choice of its lanes
//   load and store             all lanes, or only the first `count` with zeros for the others;
//   bytes
//                              are loaded as floats, where convolutions have them
//   fma(a, b, c), fms(a, b, c)  a · b + c and a · b - c, rounded once where the processor can
//   max(a, b), min(a, b)       b in lanes where one of them is NaN
//   first(count), zeros(p)     the first lanes; lanes whose byte at p is zero (reads kWidth bytes)
//   select(mask, a, b)         a in the chosen lanes
//   power_of_two(p, shifted)   p · 2^n with n in the lowest bits of `shifted`, which is positive;
//                              NaN, whose lowest bits may be any, stays NaN
//   bfloat16(x)                rounded to bfloat16, ties to even; NaN stays NaN
//   transpose4                 four rows of four floats become four columns
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lanes/activation.h"

namespace confpress::portable {

struct Lanes {
  static constexpr size_t kWidth = 4;
  // 12 accumulators: the 16 registers of SSE2 also hold what is multiplied.
  static constexpr int kTileRows = 4;
  static constexpr int kTileStrips = 3;
  static constexpr int kTileFrames = 8;

  typedef float Vec __attribute__((vector_size(16)));
  typedef int32_t Mask __attribute__((vector_size(16)));
  typedef uint32_t Bits __attribute__((vector_size(16)));

  static Vec zero() { return Vec{}; }
  static Vec all(float x) { return Vec{x, x, x, x}; }
  static Vec load(const float* p) {
    Vec x;
    memcpy(&x, p, sizeof x);
    return x;
  }
  static Vec load(const float* p, size_t count) {
    if (count >= kWidth) return load(p);
    Vec x{};
    for (size_t i = 0; i < count; ++i) x[i] = p[i];
    return x;
  }
  static Vec load(const uint8_t* p, size_t count = kWidth) {
    Vec x{};
    for (size_t i = 0; i < kWidth && i < count; ++i) x[i] = p[i];
    return x;
  }
  static void store(float* p, Vec x) { memcpy(p, &x, sizeof x); }
  static void store(float* p, Vec x, size_t count) {
    if (count >= kWidth) return store(p, x);
    for (size_t i = 0; i < count; ++i) p[i] = x[i];
  }

  static Vec add(Vec a, Vec b) { return a + b; }
  static Vec sub(Vec a, Vec b) { return a - b; }
  static Vec mul(Vec a, Vec b) { return a * b; }
  static Vec div(Vec a, Vec b) { return a / b; }
  static Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
  static Vec fms(Vec a, Vec b, Vec c) { return a * b - c; }
  static Vec max(Vec a, Vec b) { return select(a > b, a, b); }
  static Vec min(Vec a, Vec b) { return select(a < b, a, b); }
  static Vec reciprocal(Vec x) { return 1.0f / x; }
  static Vec within(Vec x, float bound) { return min(max(x, all(-bound)), all(bound)); }
  static Mask not_below(Vec a, Vec b) { return ~(a < b); }
  static float sum(Vec x) { return (x[0] + x[2]) + (x[1] + x[3]); }
  static float largest(Vec x) {
    const float left = x[0] > x[2] ? x[0] : x[2];
    const float right = x[1] > x[3] ? x[1] : x[3];
    return left > right ? left : right;
  }

  static Mask first(size_t count) {
    const Mask places = {0, 1, 2, 3};
    return places < static_cast<int32_t>(count < kWidth ? count : kWidth);
  }
  static Mask zeros(const uint8_t* p) { return Mask{p[0], p[1], p[2], p[3]} == 0; }
  static Mask both(Mask a, Mask b) { return a & b; }
  static Vec select(Mask mask, Vec a, Vec b) { return (Vec)((mask & (Mask)a) | (~mask & (Mask)b)); }

  static Vec power_of_two(Vec p, Vec shifted) {
    return (Vec)((Bits)p + ((Bits)max(shifted, zero()) << 23));
  }
  static Vec bfloat16(Vec x) {
    const Bits bits = (Bits)x;
    const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    return select(x == x, (Vec)rounded, x);
  }
  static void transpose4(const float* in, size_t in_stride, float* out, size_t out_stride) {
    for (size_t row = 0; row < 4; ++row) {
      for (size_t column = 0; column < 4; ++column) {
        out[column * out_stride + row] = in[row * in_stride + column];
      }
    }
  }
};

}  // namespace confpress::portable

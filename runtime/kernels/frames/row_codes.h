// Quantisation of a time row, all columns and channels with one scale, to uint8:
//
//   range = max(max(row, 0) - min(row, 0), kRowEpsilon)   inverse = 255 / range
//   zero  = round(-min(row, 0) · inverse)                 scale = range / 255
//   code  = min(round(x · inverse) + zero, 255)           (never below 0, for rounding is monotone)
//
// so code - zero times scale is x. A row that is never negative has zero 0 and all eight bits. A
// row that holds an infinity or NaN gets the scale NaN, which makes NaN of what reads it; its codes
// mean nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace confpress {

constexpr float kRowEpsilon = 0x1p-40f;
constexpr float kRowTop = 255.0f;

struct RowScale {
  float scale;
  float inverse;
  uint8_t zero;
};

// `static`: no copy compiled for one instruction set may serve another.
static inline RowScale row_scale(float low, float high, bool finite) {
  if (!finite) return {std::numeric_limits<float>::quiet_NaN(), 0.0f, 0};
  low = low < 0.0f ? low : 0.0f;
  high = high > 0.0f ? high : 0.0f;
  const float range = high - low > kRowEpsilon ? high - low : kRowEpsilon;
  const float inverse = kRowTop / range;
  // Rounds to even, as the codes are: see row_codes_portable.cc.
  constexpr float kShift = 12582912.0f;
  const float zero = (-low * inverse + kShift) - kShift;
  return {range / kRowTop, inverse, static_cast<uint8_t>(zero)};
}

// One instruction set's quantiser: row and codes [length].
using RowQuantizer = void (*)(const float* row, size_t length, uint8_t* codes, float* scale,
                              uint8_t* zero) noexcept;

void quantize_row_portable(const float* row, size_t length, uint8_t* codes, float* scale,
                           uint8_t* zero) noexcept;
void quantize_row_avx2(const float* row, size_t length, uint8_t* codes, float* scale,
                       uint8_t* zero) noexcept;
void quantize_row_avx512vnni(const float* row, size_t length, uint8_t* codes, float* scale,
                             uint8_t* zero) noexcept;

}  // namespace confpress

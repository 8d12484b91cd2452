// float16 and bfloat16 as 16 bits, with conversions for processors and GPUs alike.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/host_device.h"

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

namespace confpress::cuda {

struct Half {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

CONFPRESS_HOST_DEVICE float to_float(float value) { return value; }

CONFPRESS_HOST_DEVICE float to_float(BFloat16 value) {
  const uint32_t word = static_cast<uint32_t>(value.bits) << 16;
  float number;
  std::memcpy(&number, &word, sizeof number);
  return number;
}

CONFPRESS_HOST_DEVICE float to_float(Half value) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(value.bits));
#else
  // The exponent and the mantissa in their places of a float, whose exponent is then 112 too small:
  // a product with 2^112 mends that, of subnormal numbers too.
  const uint32_t magnitude = value.bits & 0x7FFFu;
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  uint32_t word = magnitude << 13;
  float number;
  if (magnitude >= 0x7C00u) {
    word |= 0x7F800000u;  // infinity and NaN
    std::memcpy(&number, &word, sizeof number);
  } else {
    std::memcpy(&number, &word, sizeof number);
    number *= 0x1p112f;
  }
  std::memcpy(&word, &number, sizeof word);
  word |= sign;
  std::memcpy(&number, &word, sizeof number);
  return number;
#endif
}

// The nearest number of type T, ties to even.
template <class T>
CONFPRESS_HOST_DEVICE T from_float(float value);

template <>
CONFPRESS_HOST_DEVICE float from_float<float>(float value) {
  return value;
}

template <>
CONFPRESS_HOST_DEVICE Half from_float<Half>(float value) {
#if defined(__CUDA_ARCH__)
  return {__half_as_ushort(__float2half_rn(value))};
#else
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  const auto sign = static_cast<uint16_t>(word >> 16 & 0x8000u);
  const uint32_t magnitude = word & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return {static_cast<uint16_t>(sign | 0x7E00u)};   // NaN
  if (magnitude >= 0x477FF000u) return {static_cast<uint16_t>(sign | 0x7C00u)};  // 65520 and more
  if (magnitude < 0x38800000u) {
    // Below 2^-14 a step is 2^-24: adding 2^-1 leaves the rounded number of steps in the mantissa.
    float number;
    std::memcpy(&number, &magnitude, sizeof number);
    number += 0.5f;
    std::memcpy(&word, &number, sizeof word);
    return {static_cast<uint16_t>(sign | (word - 0x3F000000u))};
  }
  const uint32_t rounded = magnitude + 0x0FFFu + (magnitude >> 13 & 1u);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
#endif
}

}  // namespace confpress::cuda

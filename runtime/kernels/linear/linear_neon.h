// What the `*_neondot.cc` files of linear layers share.
#pragma once

#include "lanes/lanes_neon.h"
#include "linear/linear_epilogue.h"
#include "linear/linear_int8.h"

#define CONFPRESS_UNROLL _Pragma("GCC unroll 8")

namespace confpress::neon {

constexpr size_t kLanes = Lanes::kWidth;
constexpr int kQuarters = kStripRows / kLanes;  // registers of a strip

// A group's four codes, four times.
static inline int8x16_t broadcast_group(const int8_t* codes) {
  int32_t word = 0;
  __builtin_memcpy(&word, codes, sizeof word);
  return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

}  // namespace confpress::neon

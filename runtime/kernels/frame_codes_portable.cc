#include <cmath>
#include <cstring>
#include <limits>

#include "frame_codes.h"
#include "ranges.h"

namespace confpress {
namespace {

constexpr size_t kGroup = 4;

// Adding and subtracting 1.5 · 2^23 rounds to an integer, ties to even, and unlike nearbyint it
// compiles to two additions everywhere.
float rounded(float value) {
  constexpr float kShift = 12582912.0f;
  return (value + kShift) - kShift;
}

void quantize(const float* frame, size_t length, void* codes, float* scale) noexcept {
  auto* out = static_cast<int16_t*>(codes);
  const size_t padded = ceil_div(length, kGroup) * kGroup;
  float largest = kEpsilon;
  bool finite = true;
  for (size_t k = 0; k < length; ++k) {
    const float magnitude = std::fabs(frame[k]);
    finite &= magnitude <= std::numeric_limits<float>::max();
    if (magnitude > largest) largest = magnitude;
  }
  if (!finite) {
    *scale = std::numeric_limits<float>::quiet_NaN();
    std::memset(out, 0, padded * sizeof(int16_t));
    return;
  }
  const float s = largest / kQmax;
  *scale = s;
  for (size_t k = 0; k < length; ++k) out[k] = static_cast<int16_t>(rounded(frame[k] / s));
  for (size_t k = length; k < padded; ++k) out[k] = 0;
}

}  // namespace

const FrameQuantizer kFrameQuantizerPortable{sizeof(int16_t), 0, quantize};

}  // namespace confpress

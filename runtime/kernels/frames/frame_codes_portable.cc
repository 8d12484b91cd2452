#include <cmath>
#include <limits>

#include "base/ranges.h"
#include "frames/frame_codes.h"

namespace confpress {
namespace {

constexpr size_t kGroup = 4;

// Adding and subtracting 1.5 · 2^23 rounds to an integer, ties to even, and unlike nearbyint it
// compiles to two additions everywhere.
float rounded(float value) {
  constexpr float kShift = 12582912.0f;
  return (value + kShift) - kShift;
}

float scale(const float* frame, size_t length) noexcept {
  float largest = kEpsilon;
  bool finite = true;
  for (size_t k = 0; k < length; ++k) {
    const float magnitude = std::fabs(frame[k]);
    finite &= magnitude <= std::numeric_limits<float>::max();
    if (magnitude > largest) largest = magnitude;
  }
  return finite ? largest / kQmax : std::numeric_limits<float>::quiet_NaN();
}

void codes(const float* frame, size_t length, float scale, void* codes) noexcept {
  auto* out = static_cast<int16_t*>(codes);
  const size_t padded = ceil_div(length, kGroup) * kGroup;
  const size_t finite = std::isnan(scale) ? 0 : length;
  for (size_t k = 0; k < finite; ++k) out[k] = static_cast<int16_t>(rounded(frame[k] / scale));
  for (size_t k = finite; k < padded; ++k) out[k] = 0;
}

}  // namespace

const FrameQuantizer kFrameQuantizerPortable{sizeof(int16_t), 0, scale, codes};

}  // namespace confpress

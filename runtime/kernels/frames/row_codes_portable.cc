#include <cmath>
#include <cstring>

#include "frames/row_codes.h"

namespace confpress {

void quantize_row_portable(const float* row, size_t length, uint8_t* codes, float* scale,
                           uint8_t* zero) noexcept {
  float low = 0.0f;
  float high = 0.0f;
  bool finite = true;
  for (size_t i = 0; i < length; ++i) {
    finite &= std::fabs(row[i]) <= std::numeric_limits<float>::max();
    low = row[i] < low ? row[i] : low;
    high = row[i] > high ? row[i] : high;
  }
  const RowScale s = row_scale(low, high, finite);
  *scale = s.scale;
  *zero = s.zero;
  if (!finite) {
    std::memset(codes, 0, length);
    return;
  }
  // Adding and subtracting 1.5 · 2^23 rounds to an integer, ties to even.
  constexpr float kShift = 12582912.0f;
  for (size_t i = 0; i < length; ++i) {
    const auto code = static_cast<int32_t>((row[i] * s.inverse + kShift) - kShift) + s.zero;
    codes[i] = static_cast<uint8_t>(code < 255 ? code : 255);
  }
}

}  // namespace confpress

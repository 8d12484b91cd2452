#include <algorithm>

#include "lanes/activation_portable.h"
#include "linear/linear_int8.h"

namespace confpress {
namespace {

void multiply(const LinearInt8Problem& p, Range frames, Range strips) noexcept {
  for (size_t strip = strips.begin; strip < strips.end; ++strip) {
    const int8_t* weights = p.weights + strip * p.groups * kGroupBytes;
    const size_t first = strip * kStripRows;
    const size_t rows = std::min(kStripRows, p.rows - first);
    for (size_t frame = frames.begin; frame < frames.end; ++frame) {
      const auto* bytes = static_cast<const std::byte*>(p.codes) + frame * p.codes_stride;
      const auto* codes = reinterpret_cast<const int16_t*>(bytes);
      int32_t sums[kStripRows];
      std::copy_n(p.offsets + first, kStripRows, sums);
      for (size_t group = 0; group < p.groups; ++group) {
        const int16_t* x = codes + group * kGroupColumns;
        const int8_t* w = weights + group * kGroupBytes;
        for (size_t row = 0; row < kStripRows; ++row, w += kGroupColumns) {
          sums[row] += x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
        }
      }
      float* y = p.y + frame * p.rows + first;
      for (size_t row = 0; row < rows; ++row) {
        const float product = static_cast<float>(sums[row]) * p.frame_scales[frame];
        const float z = product * p.row_scales[first + row] + p.bias[first + row];
        y[row] = portable::activate(p.activation, z);
      }
    }
  }
}

}  // namespace

const LinearInt8Kernel kLinearInt8Portable{&kFrameQuantizerPortable, kTilesOfTask, 1, multiply};

}  // namespace confpress

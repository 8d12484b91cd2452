#include <algorithm>

#include "lanes/activation_portable.h"
#include "sparse/linear_sparse.h"

namespace confpress {
namespace {

void multiply(const LinearSparseProblem& p, Range frames, Range strips) noexcept {
  for (size_t strip = strips.begin; strip < strips.end; ++strip) {
    const size_t first = strip * kStripRows;
    const size_t rows = std::min(kStripRows, p.rows - first);
    for (size_t frame = frames.begin; frame < frames.end; ++frame) {
      const auto* codes = reinterpret_cast<const int16_t*>(p.codes + frame * p.codes_stride);
      const int8_t* w = p.weights + strip * p.strip_bytes();
      const uint8_t* columns = p.columns + strip * p.strip_bytes();
      int32_t sums[kStripRows];
      std::copy_n(p.offsets + first, kStripRows, sums);
      for (size_t slot = 0; slot < p.slots; ++slot) {
        const int16_t* x = codes + p.first_column<SlotReach::kBlock>(slot);
        for (size_t row = 0; row < kStripRows; ++row, w += kSlotValues, columns += kSlotValues) {
          for (size_t i = 0; i < kSlotValues; ++i) {
            // A column without a weight may lie beyond the frame, where the code means nothing.
            sums[row] += w[i] == 0 ? 0 : x[columns[i]] * w[i];
          }
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

const LinearSparseKernel kLinearSparsePortable{&kFrameQuantizerPortable, 1, 1, multiply};

}  // namespace confpress

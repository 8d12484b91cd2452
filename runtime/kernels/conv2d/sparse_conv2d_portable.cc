#include "conv2d/conv2d_portable.h"
#include "conv2d/sparse_conv2d.h"

namespace confpress {
namespace {

void multiply(const SparseConv2dProblem& p, Range places, Range strips) noexcept {
  portable::each_place(p, places, strips,
                       [&](size_t tap, size_t strip, const uint8_t* codes, int32_t* sums) {
                         const SparseWeights w = p.of_tap(tap);
                         const int8_t* weights = w.weights + strip * w.strip_bytes();
                         const uint8_t* columns = w.columns + strip * w.strip_bytes();
                         for (size_t slot = 0; slot < w.slots; ++slot) {
                           const uint8_t* x = codes + w.first_column<SlotReach::kBlock>(slot);
                           for (size_t row = 0; row < kStripRows; ++row) {
                             for (size_t i = 0; i < kSlotValues; ++i)
                               sums[row] += x[*columns++] * *weights++;
                           }
                         }
                       });
}

}  // namespace

const SparseConv2dKernel kSparseConv2dPortable{sizeof(uint8_t), 4, 1, multiply};

}  // namespace confpress

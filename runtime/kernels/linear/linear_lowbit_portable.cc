#include <cstring>

#include "lanes/activation_portable.h"
#include "linear/linear_lowbit_task.h"

namespace confpress {
namespace {

void narrow(void* codes, size_t length, int32_t* sums) noexcept {
  const auto* from = static_cast<const int16_t*>(codes);
  auto* to = static_cast<int8_t*>(codes);
  const size_t padded = ceil_div(length, kSumColumns) * kSumColumns;
  for (size_t k = 0; k < length; ++k) {
    int16_t code = 0;
    std::memcpy(&code, from + k, sizeof code);
    to[k] = static_cast<int8_t>(code);
  }
  std::memset(to + length, 0, padded - length);
  for (size_t k = 0; k < padded; k += kSumColumns, ++sums) {
    *sums = 0;
    for (size_t i = 0; i < kSumColumns; ++i) *sums += to[k + i];
  }
}

struct Portable {
  static constexpr size_t kTileFrames = 1;
  static constexpr size_t kTileStrips = 1;

  static void decode(const LinearLowbitProblem& p, const uint8_t* packed, size_t count,
                     uint8_t* out) {
    const unsigned mask = (1u << p.bits) - 1;
    for (size_t group = 0; group < count; ++group, packed += kGroupBytes) {
      for (int shift = 0; shift < 8; shift += p.bits, out += kGroupBytes) {
        for (size_t i = 0; i < kGroupBytes; ++i) out[i] = p.table[(packed[i] >> shift) & mask];
      }
    }
  }

  template <int kFrames, int kStrips>
  static void tile(const LinearLowbitProblem& p, const LowbitTile& t) {
    static_assert(kFrames == 1 && kStrips == 1);
    const size_t row = t.strip * kStripRows;
    const size_t rows = std::min(kStripRows, p.rows - row);
    const int8_t* x = p.codes + t.frame * p.codes_stride;
    float* y = p.y + t.frame * p.rows + row;
    float totals[kStripRows] = {};
    if (!t.first) std::copy_n(y, rows, totals);
    const auto* w = reinterpret_cast<const int8_t*>(t.weights);
    for (size_t block = t.first_block; block < t.last_block; ++block) {
      const size_t begin = block * p.block_groups;
      const size_t end = std::min(begin + p.block_groups, p.groups);
      int32_t sums[kStripRows] = {};
      for (size_t group = begin; group < end; ++group) {
        const int8_t* codes = x + group * kGroupColumns;
        for (size_t r = 0; r < kStripRows; ++r, w += kGroupColumns) {
          sums[r] += codes[0] * w[0] + codes[1] * w[1] + codes[2] * w[2] + codes[3] * w[3];
        }
      }
      const float* scales = p.scales + (t.strip * p.blocks + block) * kStripRows;
      for (size_t r = 0; r < kStripRows; ++r) {
        totals[r] += static_cast<float>(sums[r]) * scales[r];
      }
    }
    for (size_t r = 0; r < rows; ++r) {
      y[r] = t.last ? finished(p, totals[r], t.frame, row + r) : totals[r];
    }
  }

  static float finished(const LinearLowbitProblem& p, float total, size_t frame, size_t row) {
    const float z = total * p.frame_scales[frame] + p.bias[row];
    return portable::activate(p.activation, z);
  }
};

}  // namespace

const LinearLowbitKernel kLinearLowbitPortable{
    &kFrameQuantizerPortable, false,  Portable::kTileFrames,
    Portable::kTileStrips,    narrow, lowbit_multiply<Portable>};

}  // namespace confpress

// 3 frames x 1 strip, NEON with dot product: 12 accumulators of a block, 12 of all blocks. The
// table holds signed values, so nothing has to be corrected.
#include "linear/linear_lowbit_end.h"
#include "linear/linear_lowbit_task.h"
#include "linear/linear_neon.h"

namespace confpress {
namespace {

using neon::kLanes;
using neon::kQuarters;

// The stored codes are int8 already, with zeros to the end of the run of 16.
void narrow(void* codes, size_t length, int32_t* sums) noexcept {
  const auto* bytes = static_cast<const int8_t*>(codes);
  for (size_t k = 0; k < length; k += kSumColumns) *sums++ = vaddlvq_s8(vld1q_s8(bytes + k));
}

struct NeonDot {
  static constexpr size_t kTileFrames = 3;
  static constexpr size_t kTileStrips = 1;

  static void decode(const LinearLowbitProblem& p, const uint8_t* packed, size_t count,
                     uint8_t* out) {
    if (p.bits == 4) return decode_as<4>(p, packed, count, out);
    decode_as<2>(p, packed, count, out);
  }

  template <int kBits>
  static void decode_as(const LinearLowbitProblem& p, const uint8_t* packed, size_t count,
                        uint8_t* out) {
    constexpr size_t kQuarterBytes = kGroupBytes / kQuarters;
    const uint8x16_t table = vld1q_u8(p.table);
    const uint8x16_t mask = vdupq_n_u8((1 << kBits) - 1);
    for (size_t group = 0; group < count; ++group, out += 8 / kBits * kGroupBytes) {
      for (size_t i = 0; i < kQuarters; ++i, packed += kQuarterBytes) {
        uint8x16_t bytes = vld1q_u8(packed);
        CONFPRESS_UNROLL
        for (int part = 0; part < 8 / kBits; ++part) {
          vst1q_u8(out + part * kGroupBytes + i * kQuarterBytes,
                   vqtbl1q_u8(table, vandq_u8(bytes, mask)));
          bytes = vshrq_n_u8(bytes, kBits);
        }
      }
    }
  }

  template <int kFrames, int kStrips>
  static void tile(const LinearLowbitProblem& p, const LowbitTile& t) {
    static_assert(kStrips == 1);
    const size_t row = t.strip * kStripRows;
    const int8_t* x = p.codes + t.frame * p.codes_stride;
    const auto* w = reinterpret_cast<const int8_t*>(t.weights);
    float* y = p.y + t.frame * p.rows + row;

    float32x4_t totals[kFrames][kQuarters];
    CONFPRESS_UNROLL
    for (int f = 0; f < kFrames; ++f) {
      CONFPRESS_UNROLL
      for (int i = 0; i < kQuarters; ++i) {
        const bool kept = !t.first && row + i * kLanes < p.rows;
        totals[f][i] =
            kept ? neon::Lanes::load(y + f * p.rows + i * kLanes, p.rows - row - i * kLanes)
                 : vdupq_n_f32(0.0f);
      }
    }
    for (size_t block = t.first_block; block < t.last_block; ++block) {
      const size_t begin = block * p.block_groups;
      const size_t end = std::min(begin + p.block_groups, p.groups);
      int32x4_t sums[kFrames][kQuarters];
      CONFPRESS_UNROLL
      for (int f = 0; f < kFrames; ++f) {
        CONFPRESS_UNROLL
        for (int i = 0; i < kQuarters; ++i) {
          sums[f][i] = vdupq_n_s32(p.starts[(t.frame + f) * p.blocks + block]);
        }
      }
      for (size_t group = begin; group < end; ++group, w += kGroupBytes) {
        int8x16_t codes[kFrames];
        CONFPRESS_UNROLL
        for (int f = 0; f < kFrames; ++f) {
          codes[f] = neon::broadcast_group(x + f * p.codes_stride + group * kGroupColumns);
        }
        CONFPRESS_UNROLL
        for (int i = 0; i < kQuarters; ++i) {
          const int8x16_t weights = vld1q_s8(w + i * kGroupBytes / kQuarters);
          CONFPRESS_UNROLL
          for (int f = 0; f < kFrames; ++f) sums[f][i] = vdotq_s32(sums[f][i], weights, codes[f]);
        }
      }
      const float* scales = p.scales + (t.strip * p.blocks + block) * kStripRows;
      CONFPRESS_UNROLL
      for (int i = 0; i < kQuarters; ++i) {
        const float32x4_t quarter = vld1q_f32(scales + i * kLanes);
        CONFPRESS_UNROLL
        for (int f = 0; f < kFrames; ++f) {
          totals[f][i] = vfmaq_f32(totals[f][i], vcvtq_f32_s32(sums[f][i]), quarter);
        }
      }
    }
    end_tile<neon::Lanes>(p, t, totals);
  }
};

}  // namespace

const LinearLowbitKernel kLinearLowbitNeonDot{
    &kFrameQuantizerNeonDot, false,  NeonDot::kTileFrames,
    NeonDot::kTileStrips,    narrow, lowbit_multiply<NeonDot>};

}  // namespace confpress

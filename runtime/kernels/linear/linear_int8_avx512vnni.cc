#include "lanes/lanes_avx512.h"
#include "linear/dense_tile_avx512.h"
#include "linear/linear_epilogue.h"
#include "linear/linear_int8.h"

namespace confpress {
namespace {

// Weights of a tile that stay in the first cache, of 32 KB, beside codes and results.
constexpr size_t kNearWeights = 16 * 1024;

struct FrameTiles {
  template <int kFrames, int kStrips>
  [[gnu::noinline]] static void tile(const LinearInt8Problem& p, size_t frame, size_t strip) {
    const uint8_t* codes = static_cast<const uint8_t*>(p.codes) + frame * p.codes_stride;
    const size_t strip_bytes = p.groups * kGroupBytes;
    const size_t row = strip * kStripRows;
    __m512i sums[kFrames][kStrips];
    start_sums<avx512::Lanes>(p.offsets + row, sums);
    const auto group_of = [&](int f, size_t group) __attribute__((always_inline)) {
      return codes + f * p.codes_stride + group * kGroupColumns;
    };
    const int8_t* weights = p.weights + strip * strip_bytes;
    if (strip_bytes * kStrips > kNearWeights) {
      avx512::add_groups<true>(sums, weights, strip_bytes, p.groups, group_of);
    } else {
      avx512::add_groups<false>(sums, weights, strip_bytes, p.groups, group_of);
    }
    finish<avx512::Lanes>(p, sums, frame, row);
  }
};

void multiply(const LinearInt8Problem& p, Range frames, Range strips) noexcept {
  avx512::multiply_dense<FrameTiles>(p, frames, strips);
}

}  // namespace

const LinearInt8Kernel kLinearInt8Avx512Vnni{&kFrameQuantizerAvx512Vnni,
                                             kTilesOfTask * avx512::kDenseTileFrames,
                                             avx512::kDenseTileStrips, multiply};

}  // namespace confpress

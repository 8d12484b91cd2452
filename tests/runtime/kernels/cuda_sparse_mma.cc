// The product on sparse tensor cores, on a processor. test_cuda_sparse_mma.py calls it.
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "mma_threads.h"

namespace {

using namespace confpress;
using namespace confpress::cuda;

template <class Tile>
void run(const SparseMmaProblem& problem, bool late) {
  using Block = SparseMmaBlock<Tile>;
  const auto shared = std::make_unique<typename Block::Shared>();
  for (int64_t index = 0; index < Block::count(problem.shape); ++index) {
    std::memset(shared.get(), 0xFF, sizeof *shared);  // NaN, so that nothing is read unset
    Barrier barrier;
    std::vector<std::thread> warps;
    for (int warp = 0; warp < kWarps; ++warp) {
      warps.emplace_back([&, warp] {
        HostMmaThreads<typename Block::Registers> threads(warp, barrier, late);
        Block(problem, *shared, index).run(threads);
      });
    }
    for (std::thread& warp : warps) warp.join();
  }
}

}  // namespace

// sizes: frames, rows, columns. Whether there are at most two weights in all groups of four
// columns; only then Y is computed.
extern "C" bool sparse_mma(const Half* x, const Half* weights, const uint8_t* columns,
                           const float* bias, Half* y, const int64_t (&sizes)[3], int kept,
                           int activation, bool wide, bool late) {
  const auto blocks = static_cast<int>(ceil_div(sizes[2], kColumns));
  const auto packed = pack_two_of_four(weights, columns, sizes[1], blocks, kept);
  if (packed.empty()) return false;
  const Shape shape{sizes[0], static_cast<int>(sizes[1]), static_cast<int>(sizes[2]), blocks};
  const SparseMmaProblem problem{shape, x, packed.data(),
                                 bias,  y, static_cast<Activation>(activation)};
  wide ? run<WideTile>(problem, late) : run<NarrowTile>(problem, late);
  return true;
}

// For ThreadSanitizer: both tiles, with frames that are copied and others, over several stages.
int main() {
  constexpr int64_t kRows = 70, kFrames = 70;
  for (const int64_t columns : {600, 518}) {
    const size_t blocks = ceil_div(columns, kColumns);
    const int kept = kColumns / 2;
    std::vector<Half> x(kFrames * columns), y(kFrames * kRows);
    std::vector<Half> weights(blocks * kRows * kept, from_float<Half>(1.0f));
    std::vector<uint8_t> places(weights.size());
    for (size_t i = 0; i < places.size(); ++i) places[i] = i % kept / 2 * kGroup + i % 2;
    const std::vector<float> bias(kRows);
    for (const bool wide : {false, true}) {
      if (!sparse_mma(x.data(), weights.data(), places.data(), bias.data(), y.data(),
                      {kFrames, kRows, columns}, kept, 0, wide, false)) {
        return 1;
      }
    }
  }
}

// Where a lane's register lies: row and group of weights, frame and column of frames, row and frame
// of sums; and for metadata, row and group of four of its bits.
extern "C" void places(int lane, int reg, int (&weights)[2], int (&frames)[2], int (&sums)[2]) {
  const RowGroup a = weights_place(lane, reg);
  const FrameColumn b = frames_place(lane, reg);
  const RowFrame c = sum_place(lane, reg);
  weights[0] = a.row, weights[1] = a.group;
  frames[0] = b.frame, frames[1] = b.column;
  sums[0] = c.row, sums[1] = c.frame;
}

extern "C" void indices(int lane, int nibble, int (&at)[2]) {
  const RowGroup place = indices_place(lane, nibble);
  at[0] = place.row, at[1] = place.group;
}

// 16 rows of 64 columns with their zeros: a lane's words of weights for both steps, its metadata.
extern "C" bool pack_rows(const Half* dense, uint32_t* values, uint32_t* metadata) {
  DenseRows rows;
  std::memcpy(rows.values, dense, sizeof rows.values);
  MmaWeights packed;
  if (!pack(rows, packed)) return false;
  std::memcpy(values, packed.values, sizeof packed.values);
  std::memcpy(metadata, packed.metadata, sizeof packed.metadata);
  return true;
}

extern "C" bool is_wide(const int64_t (&sizes)[3], int multiprocessors) {
  const Shape shape{sizes[0], static_cast<int>(sizes[1]), static_cast<int>(sizes[2]), 0};
  return wide_tiles(shape, multiprocessors);
}

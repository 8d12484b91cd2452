// The threads of SparseMmaBlock on a processor: what a warp does as one is done for all of its
// lanes at once, by the layouts that sparse_mma_layout.h writes down.
#pragma once

#include <cmath>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <vector>

#include "cuda/sparse_mma_block.h"

namespace confpress::cuda {

// D = A · B + C of one warp; NaN where metadata is none that the instruction allows. Sums are exact
// up to one rounding: a GPU's own order is not known.
template <int kSelector>
void multiply_warp(const std::vector<MmaOperands>& lanes) {
  double a[kMmaRows][kMmaColumns] = {};
  double b[kMmaColumns][kMmaFrames];
  uint32_t indices[kMmaRows][kMmaGroups] = {};
  for (int lane = 0; lane < kLanes; ++lane) {
    if (selector(lane) != kSelector) continue;
    for (int nibble = 0; nibble < kNibbles; ++nibble) {
      const RowGroup at = indices_place(lane, nibble);
      indices[at.row][at.group] = lanes[lane].metadata >> 4 * nibble & 15;
    }
  }
  const auto half = [](uint32_t word, int i) {
    return static_cast<double>(to_float(Half{static_cast<uint16_t>(word >> 16 * i)}));
  };
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int reg = 0; reg < kMmaRegisters; ++reg) {
      const RowGroup weights = weights_place(lane, reg);
      const FrameColumn frames = frames_place(lane, reg);
      const uint32_t first = indices[weights.row][weights.group] & 3;
      const uint32_t second = indices[weights.row][weights.group] >> 2;
      for (int i = 0; i < 2; ++i) {
        double& weight = a[weights.row][kGroup * weights.group + (i == 0 ? first : second)];
        weight = first < second ? half(lanes[lane].weights[reg], i) : std::nan("");
        b[frames.column + i][frames.frame] = half(lanes[lane].frames[reg], i);
      }
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int reg = 0; reg < kMmaRegisters; ++reg) {
      const RowFrame at = sum_place(lane, reg);
      double sum = lanes[lane].sums[reg];
      for (int column = 0; column < kMmaColumns; ++column) {
        sum += a[at.row][column] * b[column][at.frame];
      }
      lanes[lane].sums[reg] = static_cast<float>(sum);
    }
  }
}

constexpr int kWarps = kMmaThreads / kLanes;

// Where the warps of a block wait for one another.
class Barrier {
 public:
  void wait() {
    std::unique_lock lock(mutex_);
    const int round = round_;
    if (++arrived_ == kWarps) {
      arrived_ = 0;
      ++round_;
      all_.notify_all();
    } else {
      all_.wait(lock, [&] { return round_ != round; });
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_;
  int arrived_ = 0;
  int round_ = 0;
};

// The threads of one warp. Warps run at the same time, so that ThreadSanitizer sees where a barrier
// is missing.
template <class Registers>
class HostMmaThreads {
 public:
  // Copies are done as early as a GPU may do them, or as late.
  HostMmaThreads(int warp, Barrier& barrier, bool late)
      : first_(warp * kLanes), barrier_(barrier), late_(late) {}

  template <class Phase>
  void each(const Phase& phase) {
    for (int i = 0; i < kLanes; ++i) {
      const int lane = backwards_ ? kLanes - 1 - i : i;
      phase(first_ + lane, registers_[lane]);
    }
    backwards_ = !backwards_;
  }

  void copy(Chunk& to, const Half* from, bool exists) {
    const auto now = [&to, from, exists] {
      to = exists ? *reinterpret_cast<const Chunk*>(from) : Chunk{};
    };
    if (late_) {
      copies_.push_back(now);
    } else {
      now();
    }
  }

  void wait() {
    for (const auto& copy : copies_) copy();
    copies_.clear();
    barrier_.wait();
  }

  // ldmatrix.x4: lane 8 i + r says where row r of matrix i is; of every matrix, each lane gets two
  // elements, row by row. Zeros where a matrix has two rows in the same banks.
  template <class RowOf, class To>
  void read_matrices(const RowOf& row_of, const To& to_of) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      std::set<uintptr_t> banks;
      for (int row = 0; row < 8; ++row) {
        const Chunk& chunk = row_of(first_ + 8 * matrix + row);
        banks.insert(reinterpret_cast<uintptr_t>(&chunk) / sizeof(Chunk) % 8);
        for (int i = 0; i < 4; ++i) {
          to_of(registers_[4 * row + i]).words[matrix] = chunk.words[i];
        }
      }
      if (banks.size() == 8) continue;
      for (Registers& registers : registers_) to_of(registers).words[matrix] = 0;
    }
  }

  template <int kSelector, class Of>
  void multiply(const Of& operands_of) {
    std::vector<MmaOperands> lanes;
    for (Registers& registers : registers_) lanes.push_back(operands_of(registers));
    multiply_warp<kSelector>(lanes);
  }

 private:
  const int first_;
  Barrier& barrier_;
  const bool late_;
  std::vector<Registers> registers_{kLanes};
  std::vector<std::function<void()>> copies_;
  bool backwards_ = false;
};

}  // namespace confpress::cuda

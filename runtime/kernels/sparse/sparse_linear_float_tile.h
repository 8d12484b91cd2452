// A tile of SparseLinearFloat on any Lanes: some registers of frames, and a few rows at a time.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "lanes/activation_lanes.h"
#include "sparse/sparse_linear_float.h"

namespace confpress {

template <class L, int kRegisters>
struct SparseFloatTile {
  static constexpr size_t kFrames = kRegisters * L::kWidth;
  // As many sums as the processor's registers hold.
  static constexpr int kRows = std::min(4, L::kTileRows* L::kTileStrips / kRegisters);
  static_assert(kFrames <= kMostTileFrames);
  using Vec = typename L::Vec;

  static size_t frames_of(const SparseFloatProblem& p, size_t tile) {
    return std::min(kFrames, p.frames - tile * kFrames);
  }
  static float* tile_of(const SparseFloatProblem& p, size_t tile) {
    return p.tiles + tile * p.blocks * kFloatBlock * kFrames;
  }

  // out[j][i] = in[i][j], in squares of four; `chunk` columns of all rows before the next, so that
  // the lines of a chunk stay in the cache until they are whole.
  static void transpose_into(float* out, size_t out_stride, const float* in, size_t in_stride,
                             size_t rows, size_t columns, size_t chunk) {
    const size_t whole_rows = rows / 4 * 4;
    const size_t whole_columns = columns / 4 * 4;
    for (size_t first = 0; first < whole_columns; first += chunk) {
      const size_t end = std::min(first + chunk, whole_columns);
      for (size_t i = 0; i < whole_rows; i += 4) {
        for (size_t j = first; j < end; j += 4) {
          L::transpose4(in + i * in_stride + j, in_stride, out + j * out_stride + i, out_stride);
        }
      }
    }
    for (size_t i = 0; i < rows; ++i) {
      for (size_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j) {
        out[j * out_stride + i] = in[i * in_stride + j];
      }
    }
  }

  // Frames beyond the last and columns beyond K are zeros.
  static void transpose(const SparseFloatProblem& p, size_t tile) noexcept {
    float* out = tile_of(p, tile);
    const size_t frames = frames_of(p, tile);
    const size_t padded = p.blocks * kFloatBlock;
    if (frames < kFrames) std::fill_n(out, padded * kFrames, 0.0f);
    std::fill(out + p.column_count * kFrames, out + padded * kFrames, 0.0f);
    transpose_into(out, kFrames, p.x + tile * kFrames * p.column_count, p.column_count, frames,
                   p.column_count, 16);
  }

  // So many weights as floats: where they stand, or widened in `room`.
  static const float* floats(const SparseFloatProblem& p, size_t first, size_t count, float* room) {
    if (p.weights != nullptr) return p.weights + first;
    for (size_t i = 0; i < count; ++i) {
      const uint32_t bits = static_cast<uint32_t>(p.halves[first + i]) << 16;
      std::memcpy(room + i, &bits, sizeof bits);
    }
    return room;
  }

  // Adds one block's products to the sums of some rows; first to each other, which rounds less.
  template <int kRows>
  static void add_rows(const SparseFloatProblem& p, const float* x, const float* weights,
                       const uint8_t* columns, float* sums) {
    Vec total[kRows][kRegisters];
    CONFPRESS_EACH(r, kRows) { CONFPRESS_EACH(i, kRegisters) total[r][i] = L::zero(); }
    for (size_t j = 0; j < p.kept; ++j) {
      CONFPRESS_EACH(r, kRows) {
        const Vec w = L::all(weights[r * p.kept + j]);
        const float* from = x + columns[r * p.kept + j] * kFrames;
        CONFPRESS_EACH(i, kRegisters) {
          total[r][i] = L::fma(w, L::load(from + i * L::kWidth), total[r][i]);
        }
      }
    }
    CONFPRESS_EACH(r, kRows) {
      CONFPRESS_EACH(i, kRegisters) {
        float* sum = sums + r * kFrames + i * L::kWidth;
        L::store(sum, L::add(L::load(sum), total[r][i]));
      }
    }
  }

  static void multiply(const SparseFloatProblem& p, size_t tile, Range rows) noexcept {
    alignas(64) float sums[kFloatTaskRows * kFrames] = {};
    alignas(64) float room[kFloatTaskRows * kFloatBlock];
    const size_t count = rows.end - rows.begin;
    const float* x = tile_of(p, tile);
    for (size_t block = 0; block < p.blocks; ++block, x += kFloatBlock * kFrames) {
      const size_t first = (block * p.rows + rows.begin) * p.kept;
      const float* weights = floats(p, first, count * p.kept, room);
      const uint8_t* columns = p.columns + first;
      const auto add = [&](auto some, size_t row) {
        const size_t at = row * p.kept;
        add_rows<some>(p, x, weights + at, columns + at, sums + row * kFrames);
      };
      size_t row = 0;
      for (; row + kRows <= count; row += kRows) add(std::integral_constant<int, kRows>(), row);
      for (; row < count; ++row) add(std::integral_constant<int, 1>(), row);
    }
    for (size_t row = 0; row < count; ++row) {
      const Vec bias = L::all(p.bias[rows.begin + row]);
      float* of_row = sums + row * kFrames;
      Vec z[kRegisters];
      CONFPRESS_EACH(i, kRegisters) z[i] = L::add(L::load(of_row + i * L::kWidth), bias);
      activate<L>(p.activation, z);
      CONFPRESS_EACH(i, kRegisters) L::store(of_row + i * L::kWidth, z[i]);
    }
    transpose_into(p.y + tile * kFrames * p.rows + rows.begin, p.rows, sums, kFrames, count,
                   frames_of(p, tile), 4);
  }

  static constexpr SparseFloatKernel kKernel{kFrames, transpose, multiply};
};

template <class L>
constexpr SparseFloatKernels sparse_float_kernels() {
  return {{SparseFloatTile<L, 1>::kKernel, SparseFloatTile<L, 2>::kKernel,
           SparseFloatTile<L, 4>::kKernel}};
}

}  // namespace confpress

// The products of attention on AMX, of bfloat16: a tile of the right operand holds pairs of rows of
// 16 columns.
#pragma once

#include <immintrin.h>

#include "lanes/float_tile.h"
#include "lanes/lanes_avx512.h"
#include "lanes/product_amx.h"

namespace confpress {

struct TileProducts {
  using Product = StripProduct<uint16_t>;
  using Lanes = avx512::Lanes;
  using Operand = uint16_t;
  struct Scope {
    amx::ShapedTiles shapes{amx::kTileRows};
  };
  static constexpr size_t kWidth = Lanes::kWidth;
  static constexpr size_t kDepthStep = amx::kTileBytes / sizeof(uint16_t);  // of a tile
  static constexpr size_t kTile = kDepthStep * kWidth;
  static constexpr size_t kQueryBlock = amx::kPair * amx::kTileRows;

  static void store_left(uint16_t* p, __m512 x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(halves(x)));
  }
  static size_t strip_size(size_t depth) { return ceil_div(depth, kDepthStep) * kTile; }

  // A row of a tile holds two neighbouring numbers of 16 rows of memory.
  static void pack_turned(const float* in, size_t stride, size_t rows, size_t depth,
                          uint16_t* out) {
    const Inside part{in, stride, rows, depth};
    for (size_t row = 0; row < rows; row += kWidth, out += strip_size(depth)) {
      for (size_t column = 0; column < padded(depth); column += kWidth) {
        __m256i of_rows[kWidth];
        for (size_t r = 0; r < kWidth; ++r) {
          of_rows[r] = _mm512_cvtepi32_epi16(part.halves(row + r, column));
        }
        turn(of_rows, out + column * kWidth);
      }
    }
  }

  // A row of a tile holds two neighbouring rows of memory, number by number.
  static void pack_straight(const float* in, size_t stride, size_t depth, size_t columns,
                            uint16_t* out) {
    const Inside part{in, stride, depth, columns};
    for (size_t column = 0; column < columns; column += kWidth) {
      for (size_t row = 0; row < padded(depth); row += 2, out += 2 * kWidth) {
        const __m512i upper = _mm512_slli_epi32(part.halves(row + 1, column), 16);
        _mm512_storeu_si512(out, _mm512_or_si512(part.halves(row, column), upper));
      }
    }
  }

  template <bool kAdd>
  static void multiply(const Product& p, size_t rows, size_t strips) {
    if (rows > amx::kTileRows) return multiply_rows<amx::kPair, kAdd>(p, strips);
    multiply_rows<1, kAdd>(p, strips);
  }

  static __m512 row_of(const uint16_t* strip, size_t row) {
    const __m512i pairs = _mm512_loadu_si512(strip + row / 2 * 2 * kWidth);
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    return _mm512_castsi512_ps(row % 2 == 0 ? _mm512_slli_epi32(pairs, 16)
                                            : _mm512_and_si512(pairs, upper));
  }

 private:
  static size_t padded(size_t depth) { return ceil_div(depth, kDepthStep) * kDepthStep; }

  // Rounded numbers, each in the lower half of its lane.
  static __m512i halves(__m512 x) {
    return _mm512_srli_epi32(_mm512_castps_si512(Lanes::bfloat16(x)), 16);
  }

  // A matrix in memory, with zeros around it.
  struct Inside {
    const float* in;
    size_t stride;
    size_t rows;
    size_t columns;

    __m512i halves(size_t row, size_t column) const {
      if (row >= rows || column >= columns) return _mm512_setzero_si512();
      return TileProducts::halves(Lanes::load(in + row * stride + column, columns - column));
    }
  };

  // Writes 16 x 16 halves with neighbours of a row as pairs: [8 pairs, 16 rows, 2].
  static void turn(const __m256i (&rows)[kWidth], uint16_t* out) {
    constexpr int kPairs = kWidth / 2;
    alignas(64) uint32_t pairs[kWidth][kPairs];
    for (size_t r = 0; r < kWidth; ++r) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(pairs[r]), rows[r]);
    }
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i places = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(kPairs));
    for (size_t pair = 0; pair < kPairs; ++pair) {
      const __m512i column = _mm512_i32gather_epi32(places, pairs[0] + pair, sizeof(uint32_t));
      _mm512_storeu_si512(out + pair * 2 * kWidth, column);
    }
  }

  template <size_t kTiles, bool kAdd>
  static void multiply_rows(const Product& p, size_t strips) {
    amx::by_pairs({0, strips}, [&](size_t strip, auto at_once) {
      multiply_strips<kTiles, at_once, kAdd>(p, strip);
    });
  }

  template <size_t kTiles, size_t kStrips, bool kAdd>
  static void multiply_strips(const Product& p, size_t strip) {
    using Tiles = amx::Product<kTiles, kStrips, amx::BFloat16Dot>;
    alignas(64) static constexpr float kZeros[kStrips * kWidth] = {};
    float* sums[kTiles][kStrips];
    const uint16_t* left[kTiles];
    const uint16_t* right[kStrips];
    for (size_t t = 0; t < kTiles; ++t) {
      left[t] = p.a + t * amx::kTileRows * p.a_stride;
      for (size_t s = 0; s < kStrips; ++s) {
        sums[t][s] = p.c + t * amx::kTileRows * p.c_stride + (strip + s) * kWidth;
      }
    }
    for (size_t s = 0; s < kStrips; ++s) right[s] = p.b + (strip + s) * p.b_strip_stride;
    if constexpr (kAdd) {
      Tiles::resume(sums, p.c_stride * sizeof(float));
    } else {
      Tiles::start(kZeros);
    }
    for (size_t i = 0; i < p.depth; i += kDepthStep) {
      Tiles::add(left, p.a_stride * sizeof(uint16_t), right);
      for (const uint16_t*& tile : left) tile += kDepthStep;
      for (const uint16_t*& tile : right) tile += kTile;
    }
    Tiles::store(sums, p.c_stride * sizeof(float));
  }
};

}  // namespace confpress

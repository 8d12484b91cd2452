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
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), rounded(x));
  }
  static size_t strip_size(size_t depth) { return ceil_div(depth, kDepthStep) * kTile; }

  // A row of a tile holds two neighbouring numbers of 16 rows of memory.
  static void pack_turned(const float* in, size_t stride, size_t rows, size_t depth,
                          uint16_t* out) {
    const Inside part{in, stride, rows, depth};
    for (size_t row = 0; row < rows; row += kWidth, out += strip_size(depth)) {
      for (size_t column = 0; column < padded(depth); column += kWidth) {
        __m256i of_rows[kWidth];
        for (size_t r = 0; r < kWidth; ++r) of_rows[r] = part.rounded(row + r, column);
        turn(of_rows, out + column * kWidth);
      }
    }
  }

  // A row of a tile holds two neighbouring rows of memory, number by number.
  static void pack_straight(const float* in, size_t stride, size_t depth, size_t columns,
                            uint16_t* out) {
    const Inside part{in, stride, depth, columns};
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i by_turns = _mm512_or_si512(
        lanes, _mm512_slli_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(kWidth)), 16));
    for (size_t column = 0; column < columns; column += kWidth) {
      for (size_t row = 0; row < padded(depth); row += 2, out += 2 * kWidth) {
        const __m512i pair = beside(part.rounded(row, column), part.rounded(row + 1, column));
        _mm512_storeu_si512(out, _mm512_permutexvar_epi16(by_turns, pair));
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

  // The instruction takes denormal numbers for zeros, as products of tiles do in any case.
  static __m256i rounded(__m512 x) {
#if defined(CONFPRESS_EMULATE)
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(Lanes::bfloat16(x)), 16));
#else
    return (__m256i)_mm512_cvtneps_pbh(x);
#endif
  }
  static __m512i beside(__m256i lower, __m256i upper) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(lower), upper, 1);
  }

  // A matrix in memory, with zeros around it.
  struct Inside {
    const float* in;
    size_t stride;
    size_t rows;
    size_t columns;

    __m256i rounded(size_t row, size_t column) const {
      if (row >= rows || column >= columns) return _mm256_setzero_si256();
      return TileProducts::rounded(Lanes::load(in + row * stride + column, columns - column));
    }
  };

  // Writes 16 x 16 halves with neighbours of a row as pairs: [8 pairs, 16 rows, 2].
  static void turn(const __m256i (&rows)[kWidth], uint16_t* out) {
    constexpr size_t kPairs = kWidth / 2;
    __m512i both[kPairs];
    for (size_t r = 0; r < kPairs; ++r) both[r] = beside(rows[r], rows[r + kPairs]);
    turn_quarters(both);
    turn_quarters(both + kPairs / 2);
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    const __m512i second = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    for (size_t pair = 0; pair < kPairs / 2; ++pair, out += 2 * kWidth) {
      const __m512i upper = both[pair + kPairs / 2];
      _mm512_storeu_si512(out, _mm512_permutex2var_epi64(both[pair], first, upper));
      _mm512_storeu_si512(out + kPairs * kWidth,
                          _mm512_permutex2var_epi64(both[pair], second, upper));
    }
  }

  // Turns 4 x 4 pairs in each of the four parts of four registers.
  static void turn_quarters(__m512i* rows) {
    const __m512i a = _mm512_unpacklo_epi32(rows[0], rows[1]);
    const __m512i b = _mm512_unpackhi_epi32(rows[0], rows[1]);
    const __m512i c = _mm512_unpacklo_epi32(rows[2], rows[3]);
    const __m512i d = _mm512_unpackhi_epi32(rows[2], rows[3]);
    rows[0] = _mm512_unpacklo_epi64(a, c);
    rows[1] = _mm512_unpackhi_epi64(a, c);
    rows[2] = _mm512_unpacklo_epi64(b, d);
    rows[3] = _mm512_unpackhi_epi64(b, d);
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

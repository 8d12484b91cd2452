// Attention for some queries of one head, with relative positions or without, and without scores of
// all frames in memory: keys are taken in blocks, and the softmax's sum and largest score are
// carried from block to block (Milakov and Gimelshein 2018; Dao et al. 2022).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/ranges.h"

namespace confpress {

// Wider heads would not fit the blocks below; no Conformer has them.
constexpr size_t kMostHeadSize = 256;

struct AttentionHead {
  const float* q;  // [queries, head_size], rows q_stride apart
  size_t q_stride;
  const float* bias_u;    // [head_size]; of no meaning without positions, as the next two
  const float* bias_v;    // [head_size]
  const void* positions;  // packed by the kernel, turned
  const void* keys;       // likewise
  const void* values;     // packed by the kernel, straight
  size_t queries_in_all;  // query i and key j have the distance queries_in_all - 1 - i + j
  size_t key_count;
  size_t head_size;
  float scale;
  const uint8_t* mask;  // of query i and key j at i * mask_query + j * mask_key; null without one
  size_t mask_query;
  size_t mask_key;    // 0 or 1
  bool uniform;       // a query without keys averages all values instead of none
  const float* bias;  // added to query i's score of key j, at i * bias_query + j; null without one
  size_t bias_query;
  float* y;  // [queries, head_size], rows y_stride apart
  size_t y_stride;
};

// One instruction set's kernel.
struct AttentionKernel {
  size_t query_block;
  // Bytes of a packed right operand, and packing rows x columns so that the rows become its
  // columns, or so that they stay its rows.
  size_t (*packed_bytes)(size_t depth, size_t columns) noexcept;
  void (*pack_turned)(const float* in, size_t stride, size_t rows, size_t columns,
                      void* out) noexcept;
  void (*pack_straight)(const float* in, size_t stride, size_t rows, size_t columns,
                        void* out) noexcept;
  // At most query_block queries; scores of keys alone, or of keys and positions.
  void (*attend)(const AttentionHead&, Range queries) noexcept;
  void (*attend_with_positions)(const AttentionHead&, Range queries) noexcept;
};

constexpr size_t kKeyBlock = 256;

extern const AttentionKernel kAttentionPortable;
extern const AttentionKernel kAttentionAvx2;
extern const AttentionKernel kAttentionAvx512Vnni;
// Of operands that are rounded to bfloat16.
extern const AttentionKernel kRoundedAttentionPortable;
extern const AttentionKernel kRoundedAttentionAvx2;
extern const AttentionKernel kRoundedAttentionAvx512Vnni;
extern const AttentionKernel kRoundedAttentionAmx;

}  // namespace confpress

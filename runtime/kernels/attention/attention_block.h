// The kernel of attention on any products: see attention_products.h.
#pragma once

#include <cfloat>
#include <cstring>
#include <type_traits>

#include "attention/attention.h"
#include "attention/attention_products.h"
#include "lanes/lanes_math.h"

namespace confpress {

template <class P, bool kPositions>
class AttentionBlock {
 public:
  static void attend(const AttentionHead& head, Range queries) noexcept {
    [[maybe_unused]] const typename P::Scope scope;
    AttentionBlock block(head, queries);
    const Range keys = block.keys_in_use();
    for (size_t key = keys.begin; key < keys.end; key += kKeyBlock) {
      const size_t left = keys.end - key;
      block.add_keys(key, left < kKeyBlock ? left : kKeyBlock, key == keys.begin);
    }
    block.finish();
  }

 private:
  using L = typename P::Lanes;
  using Operand = typename P::Operand;
  using Vec = typename L::Vec;
  using Mask = typename L::Mask;
  static constexpr size_t kWidth = L::kWidth;
  static constexpr size_t kQueryBlock = P::kQueryBlock;
  static_assert(kKeyBlock % P::kDepthStep == 0);
  static constexpr bool kInPlace = std::is_same_v<Operand, float>;
  static constexpr float kMasked = -FLT_MAX;
  // Distances of a block of queries and one of keys, from the start of a strip on.
  static constexpr size_t kDistances =
      kPositions ? ceil_div(kKeyBlock + kQueryBlock + kWidth, kWidth) * kWidth + kWidth : 1;

  AttentionBlock(const AttentionHead& head, Range queries)
      : head_(head),
        queries_(queries),
        rows_(queries.end - queries.begin),
        stride_(left_stride(head.head_size)),
        context_stride_(ceil_div(head.head_size, kWidth) * kWidth) {
    const size_t size = head.head_size;
    for (size_t row = 0; row < rows_; ++row) {
      const float* q = head.q + (queries.begin + row) * head.q_stride;
      size_t i = 0;
      for (; i < size; i += kWidth) {
        const size_t left = size - i;
        const Vec x = L::load(q + i, left);
        const size_t at = row * stride_ + i;
        if constexpr (kPositions) {
          P::store_left(queries_of_keys_ + at, L::add(x, L::load(head.bias_u + i, left)));
          P::store_left(queries_of_positions_ + at, L::add(x, L::load(head.bias_v + i, left)));
        } else {
          P::store_left(queries_of_keys_ + at, x);
        }
      }
      for (; i < stride_; i += kWidth) {
        P::store_left(queries_of_keys_ + row * stride_ + i, L::zero());
        if (kPositions) P::store_left(queries_of_positions_ + row * stride_ + i, L::zero());
      }
      sums_[row] = 0.0f;
      largest_[row] = -FLT_MAX;
    }
  }

  static size_t left_stride(size_t depth) { return ceil_div(depth, P::kDepthStep) * P::kDepthStep; }

  // Keys or positions, from the strip on that begins with this one.
  const Operand* turned(const void* packed, size_t first) const {
    return static_cast<const Operand*>(packed) + first / kWidth * P::strip_size(head_.head_size);
  }

  // From the strip of the first key that counts for any row to the last such key: a limited context
  // costs what it holds. At least one key, so that there is a context.
  Range keys_in_use() const {
    if (head_.mask == nullptr || head_.mask_key == 0) return {0, head_.key_count};
    const size_t distinct = head_.mask_query == 0 ? 1 : rows_;
    size_t begin = head_.key_count - 1;
    size_t end = 1;
    for (size_t row = 0; row < distinct; ++row) {
      const uint8_t* mask = head_.mask + (queries_.begin + row) * head_.mask_query;
      const void* first = memchr(mask, 0, begin);
      if (first != nullptr) begin = static_cast<size_t>(static_cast<const uint8_t*>(first) - mask);
      size_t last = head_.key_count;
      // By blocks first: padding may be longer than what counts.
      while (last >= end + kKeyBlock && memchr(mask + last - kKeyBlock, 0, kKeyBlock) == nullptr) {
        last -= kKeyBlock;
      }
      while (last > end && mask[last - 1] != 0) --last;
      end = last;
    }
    begin = begin / P::kDepthStep * P::kDepthStep;
    return {begin, end > begin ? end : begin + 1};
  }

  // Scores of all rows with the keys [begin, begin + count), and what they add to the context, of
  // which there is something before all but the first keys.
  void add_keys(size_t begin, size_t count, bool first_keys) {
    const size_t size = head_.head_size;
    const size_t strips = ceil_div(count, kWidth);
    P::template multiply<false>({queries_of_keys_, stride_, turned(head_.keys, begin),
                                 P::strip_size(size), size, scores_[0], kKeyBlock},
                                rows_, strips);
    const size_t first = kPositions ? score_distances(begin, count) : 0;
    uint8_t space[kKeyBlock + kWidth];
    const uint8_t* mask = nullptr;
    for (size_t row = 0; row < rows_; ++row) {
      if (row == 0 || head_.mask_query != 0) mask = mask_of(row, begin, count, space);
      weigh(row, mask, count, first_keys, kPositions ? by_distance_[row] + first - row : nullptr,
            bias_of(row, begin));
    }
    const Operand* values = static_cast<const Operand*>(head_.values) + begin * kWidth;
    const size_t value_strip = P::strip_size(head_.key_count);
    const size_t columns = ceil_div(size, kWidth);
    if (first_keys) {
      P::template multiply<false>(
          {weights(0), kKeyBlock, values, value_strip, count, context_, context_stride_}, rows_,
          columns);
    } else {
      P::template multiply<true>(
          {weights(0), kKeyBlock, values, value_strip, count, context_, context_stride_}, rows_,
          columns);
    }
  }

  // Scores of all rows by distance; gives the place of the first row's first key.
  size_t score_distances(size_t begin, size_t count) {
    // The last query has the first distance.
    const size_t distance = head_.queries_in_all - queries_.end + begin;
    const size_t skipped = distance % kWidth;
    const size_t distances = skipped + count + rows_ - 1;
    const size_t size = head_.head_size;
    const Operand* positions = turned(head_.positions, distance - skipped);
    P::template multiply<false>({queries_of_positions_, stride_, positions, P::strip_size(size),
                                 size, by_distance_[0], kDistances},
                                rows_, ceil_div(distances, kWidth));
    return skipped + rows_ - 1;
  }

  // Turns a row's scores into exp(score - largest), zero where masked.
  void weigh(size_t row, const uint8_t* mask, size_t count, bool first_keys,
             [[maybe_unused]] const float* distances, [[maybe_unused]] const float* bias) {
    float* scores = scores_[row];
    Vec most = L::all(kMasked);
    for_registers(count, [&](auto registers, size_t i) {
      constexpr int n = decltype(registers)::value;
      Vec score[n];
      CONFPRESS_EACH(j, n) score[j] = L::load(scores + i + j * kWidth);
      if constexpr (kPositions) {
        CONFPRESS_EACH(j, n) score[j] = L::add(score[j], L::load(distances + i + j * kWidth));
      }
      CONFPRESS_EACH(j, n) score[j] = L::mul(score[j], L::all(head_.scale));
      if constexpr (!kPositions) {
        if (bias != nullptr) {
          CONFPRESS_EACH(j, n) {
            const size_t at = i + j * kWidth;
            score[j] = L::add(score[j], count - at < kWidth ? L::load(bias + at, count - at)
                                                            : L::load(bias + at));
          }
        }
      }
      if (mask != nullptr || i + n * kWidth > count) {
        CONFPRESS_EACH(j, n) {
          score[j] = L::select(kept(mask, i + j * kWidth, count), score[j], L::all(kMasked));
        }
      }
      CONFPRESS_EACH(j, n) L::store(scores + i + j * kWidth, score[j]);
      CONFPRESS_EACH(j, n) most = L::max(score[j], most);
    });
    const float before = largest_[row];
    const float found = L::largest(most);
    const float largest = found > before ? found : before;
    Vec sum = L::zero();
    for_registers(count, [&](auto registers, size_t i) {
      constexpr int n = decltype(registers)::value;
      Vec score[n];
      Vec weight[n];
      CONFPRESS_EACH(j, n) score[j] = L::load(scores + i + j * kWidth);
      CONFPRESS_EACH(j, n) {
        weight[j] = L::max(L::all(-kSiluBound), L::sub(score[j], L::all(largest)));
      }
      exp_of_bounded<L>(weight, kLog2E);
      CONFPRESS_EACH(j, n) {
        weight[j] = L::select(L::not_below(score[j], L::all(kMasked / 2)), weight[j], L::zero());
      }
      CONFPRESS_EACH(j, n) P::store_left(weights(row) + i + j * kWidth, weight[j]);
      CONFPRESS_EACH(j, n) sum = L::add(sum, weight[j]);
    });
    for (size_t i = ceil_div(count, kWidth) * kWidth; i < left_stride(count); i += kWidth) {
      P::store_left(weights(row) + i, L::zero());
    }
    if (!first_keys && largest > before) shrink(row, before, largest);
    largest_[row] = largest;
    sums_[row] += L::sum(sum);
  }

  // What the scores of a row become: in their own place where they are floats still.
  Operand* weights(size_t row) {
    if constexpr (kInPlace) {
      return scores_[row];
    } else {
      return weights_[row];
    }
  }

  // Calls visit(how many registers, first score) for registers that hold `count` scores.
  template <class Visit>
  static void for_registers(size_t count, const Visit& visit) {
    constexpr size_t kTogether = 4;
    size_t i = 0;
    for (; i + kTogether * kWidth < count + kWidth; i += kTogether * kWidth) {
      visit(std::integral_constant<int, kTogether>{}, i);
    }
    for (; i < count; i += kWidth) visit(std::integral_constant<int, 1>{}, i);
  }

  // What was summed up so far, relative to a larger score.
  void shrink(size_t row, float before, float largest) {
    const Vec factor = exp_of<L>(L::all(before - largest));
    float first[kWidth];
    L::store(first, factor);
    sums_[row] *= first[0];
    for (size_t i = 0; i < head_.head_size; i += kWidth) {
      float* context = context_ + row * context_stride_ + i;
      L::store(context, L::mul(L::load(context), factor));
    }
  }

  // What is added to a row's scores from a key on, or null.
  const float* bias_of(size_t row, size_t begin) const {
    if (head_.bias == nullptr) return nullptr;
    return head_.bias + (queries_.begin + row) * head_.bias_query + begin;
  }

  // The mask of a row's keys with kWidth readable bytes everywhere, or null.
  const uint8_t* mask_of(size_t row, size_t begin, size_t count, uint8_t* space) const {
    if (head_.mask == nullptr) return nullptr;
    const uint8_t* mask =
        head_.mask + (queries_.begin + row) * head_.mask_query + begin * head_.mask_key;
    if (head_.mask_key == 0) {
      memset(space, *mask, count);
    } else {
      memcpy(space, mask, count);
    }
    return space;
  }

  static Mask kept(const uint8_t* mask, size_t i, size_t count) {
    const Mask inside = L::first(count - i);
    return mask == nullptr ? inside : L::both(inside, L::zeros(mask + i));
  }

  void finish() const {
    for (size_t row = 0; row < rows_; ++row) {
      float* y = head_.y + (queries_.begin + row) * head_.y_stride;
      if (sums_[row] == 0.0f && head_.uniform) {
        average(y);
        continue;
      }
      const Vec factor = L::all(sums_[row] == 0.0f ? 0.0f : 1.0f / sums_[row]);
      for (size_t i = 0; i < head_.head_size; i += kWidth) {
        const Vec context = L::load(context_ + row * context_stride_ + i);
        L::store(y + i, L::mul(context, factor), head_.head_size - i);
      }
    }
  }

  void average(float* y) const {
    const float count = static_cast<float>(head_.key_count);
    for (size_t i = 0; i < head_.head_size; i += kWidth) {
      const Operand* values =
          static_cast<const Operand*>(head_.values) + i / kWidth * P::strip_size(head_.key_count);
      Vec sum = L::zero();
      for (size_t key = 0; key < head_.key_count; ++key) {
        sum = L::add(sum, P::row_of(values, key));
      }
      L::store(y + i, L::div(sum, L::all(count)), head_.head_size - i);
    }
  }

  const AttentionHead& head_;
  const Range queries_;
  const size_t rows_;
  // Between the rows below, close together for the nearest cache's sake.
  const size_t stride_;
  const size_t context_stride_;
  float sums_[kQueryBlock];
  float largest_[kQueryBlock];
  alignas(64) Operand queries_of_keys_[kQueryBlock * kMostHeadSize];
  alignas(64) Operand queries_of_positions_[kPositions ? kQueryBlock * kMostHeadSize : 1];
  alignas(64) float context_[kQueryBlock * kMostHeadSize];
  alignas(64) float scores_[kQueryBlock][kKeyBlock];
  alignas(64) Operand weights_[kInPlace ? 1 : kQueryBlock][kInPlace ? 1 : kKeyBlock];
  alignas(64) float by_distance_[kQueryBlock][kDistances];
};

template <class P>
static constexpr AttentionKernel attention_kernel() {
  using Operand = typename P::Operand;
  return {
      P::kQueryBlock,
      [](size_t depth, size_t columns) noexcept {
        return ceil_div(columns, P::Lanes::kWidth) * P::strip_size(depth) * sizeof(Operand);
      },
      [](const float* in, size_t stride, size_t rows, size_t columns, void* out) noexcept {
        P::pack_turned(in, stride, rows, columns, static_cast<Operand*>(out));
      },
      [](const float* in, size_t stride, size_t rows, size_t columns, void* out) noexcept {
        P::pack_straight(in, stride, rows, columns, static_cast<Operand*>(out));
      },
      AttentionBlock<P, false>::attend,
      AttentionBlock<P, true>::attend,
  };
}

}  // namespace confpress

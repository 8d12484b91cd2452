// Attention from projections to context; passes/operators/attention.py defines its operators.
#include "attention/attention.h"

#include <algorithm>
#include <array>

#include "base/activated_operators.h"
#include "base/cpu_path.h"
#include "base/custom_op.h"

namespace confpress {
namespace {

const AttentionKernel& rounded_kernel() {
  if constexpr (built(CpuPath::kAmx)) {
    if (uses(CpuPath::kAmx)) return kRoundedAttentionAmx;
  }
  if constexpr (built(CpuPath::kAvx512Vnni)) {
    if (uses(CpuPath::kAvx512Vnni)) return kRoundedAttentionAvx512Vnni;
  }
  if constexpr (built(CpuPath::kAvx2)) {
    if (uses(CpuPath::kAvx2)) return kRoundedAttentionAvx2;
  }
  return kRoundedAttentionPortable;
}

const AttentionKernel& exact_kernel() {
  if constexpr (built(CpuPath::kAvx512Vnni)) {
    if (uses(CpuPath::kAvx512Vnni)) return kAttentionAvx512Vnni;
  }
  if constexpr (built(CpuPath::kAvx2)) {
    if (uses(CpuPath::kAvx2)) return kAttentionAvx2;
  }
  return kAttentionPortable;
}

// A value of shape [batches, rows, features] of which every head reads a part of each row.
struct Rows {
  const float* data;
  size_t batches;
  size_t rows;
  size_t stride;

  const float* head(size_t batch, size_t column) const {
    return data + batch * rows * stride + column;
  }
};

// A value of every query and key; null where there is none.
template <class T>
struct OfPairs {
  const T* data = nullptr;
  size_t batch = 0;  // elements from one batch item to the next, and so on; 0 where they share one
  size_t head = 0;
  size_t query = 0;
  size_t key = 0;
};

// Scores of queries and keys alone.
struct OfKeys {
  static constexpr char kText[] = "DotProductAttention";
  static constexpr const char* kName = kText;
  static constexpr bool kRounded = false;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat, ort::kBool};
  static constexpr bool kPositions = false;
  static constexpr bool kBias = false;
};

// And what is added to them.
struct OfKeysAndBias {
  static constexpr char kText[] = "BiasedAttention";
  static constexpr const char* kName = kText;
  static constexpr bool kRounded = false;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat,
                                                 ort::kBool};
  static constexpr bool kPositions = false;
  static constexpr bool kBias = true;
};

// And of queries and relative positions.
struct OfKeysAndPositions {
  static constexpr char kText[] = "RelPosAttention";
  static constexpr const char* kName = kText;
  static constexpr bool kRounded = false;
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat,
                                                 ort::kFloat, ort::kFloat, ort::kBool};
  static constexpr bool kPositions = true;
  static constexpr bool kBias = false;
};

// What the queries meet beside keys; no table and null where they meet nothing.
struct Positions {
  Rows table;
  size_t heads;  // that have a table of their own; 1 where all share it
  const float* bias_u;
  const float* bias_v;
};

// The same with the operands of all products rounded to bfloat16.
template <class Scores>
struct Rounded : Scores {
  static constexpr auto kText = joined(Scores::kText, "BFloat16");
  static constexpr const char* kName = kText.data();
  static constexpr bool kRounded = true;
};

template <class Scores>
class Attention {
 public:
  static constexpr const char* kName = Scores::kName;
  static constexpr const auto& kInputs = Scores::kInputs;

  explicit Attention(const KernelInfo& info)
      : kernel_(Scores::kRounded ? rounded_kernel() : exact_kernel()),
        scale_(info.number("scale")) {
    const std::vector<int64_t> shape = info.ints("shape");
    const std::vector<int64_t> columns = info.ints("columns");
    if (shape.size() != 2 || shape[0] < 1 || shape[0] > INT32_MAX || shape[1] < 1 ||
        shape[1] > static_cast<int64_t>(kMostHeadSize)) {
      throw error("attribute shape is " + text_of(shape) +
                  " where it must be [heads, head size] with a head size from 1 to " +
                  std::to_string(kMostHeadSize) + ".");
    }
    if (columns.size() != columns_.size() ||
        std::any_of(columns.begin(), columns.end(),
                    [](int64_t c) { return c < 0 || c > INT32_MAX; })) {
      throw error("attribute columns is " + text_of(columns) +
                  " where it must be the first columns of " + std::to_string(columns_.size()) +
                  " inputs.");
    }
    heads_ = static_cast<size_t>(shape[0]);
    size_ = static_cast<size_t>(shape[1]);
    std::copy(columns.begin(), columns.end(), columns_.begin());
    const float uniform = info.number("uniform");
    if (uniform != 0.0f && uniform != 1.0f) {
      throw error("attribute uniform must be 0 or 1.");
    }
    uniform_ = uniform == 1.0f;
  }

  void compute(KernelContext& context) const {
    const Rows q = rows_of(context.input(0), "Q", columns_[0], heads_);
    const Rows k = rows_of(context.input(1), "K", columns_[1], heads_);
    const Rows v = rows_of(context.input(2), "V", columns_[2], heads_);
    const OfPairs<uint8_t> mask =
        mask_of(context.input(std::size(kInputs) - 1), q.batches, q.rows, k.rows);
    if (k.batches != q.batches || v.batches != q.batches || v.rows != k.rows) {
      throw error("inputs Q, K and V have different batches or frames.");
    }
    float* y = context.output(0, {static_cast<int64_t>(q.batches), static_cast<int64_t>(q.rows),
                                  static_cast<int64_t>(heads_ * size_)});
    if (q.batches * q.rows == 0) return;
    if (k.rows == 0) throw Error(std::string(kName) + " has queries and no keys.");
    run(context, q, k, v, positions_of(context, q.batches, q.rows + k.rows - 1), mask,
        bias_of(context, q.batches, q.rows, k.rows), y);
  }

 private:
  static Error error(const std::string& sentence) {
    return Error(std::string(kName) + "'s " + sentence);
  }

  Rows rows_of(const Tensor& tensor, const char* name, size_t column, size_t heads) const {
    if (tensor.shape.size() != 3 ||
        tensor.shape[2] < static_cast<int64_t>(column + heads * size_)) {
      throw error(std::string("input ") + name + " has the shape " + text_of(tensor.shape) +
                  " where it must be [batch, frames, features] with " +
                  std::to_string(heads * size_) + " features from " + std::to_string(column) +
                  " on.");
    }
    return {tensor.as<float>(), static_cast<size_t>(tensor.shape[0]),
            static_cast<size_t>(tensor.shape[1]), static_cast<size_t>(tensor.shape[2])};
  }

  Positions positions_of(const KernelContext& context, size_t batches, size_t distances) const {
    if constexpr (Scores::kPositions) {
      const Tensor tensor = context.input(3);
      const bool shared = tensor.shape.size() == 3 && columns_[3] == 0 &&
                          tensor.shape[2] == static_cast<int64_t>(size_);
      const Rows p = rows_of(tensor, "P", columns_[3], shared ? 1 : heads_);
      if ((p.batches != 1 && p.batches != batches) || p.rows != distances) {
        throw error("input P has " + std::to_string(p.batches) + " x " + std::to_string(p.rows) +
                    " distances where there are 1 or " + std::to_string(batches) + " x " +
                    std::to_string(distances) + ".");
      }
      return {p, shared ? 1 : heads_, bias_of(context.input(4), "bias_u"),
              bias_of(context.input(5), "bias_v")};
    } else {
      return {};
    }
  }

  const float* bias_of(const Tensor& tensor, const char* name) const {
    const std::vector<int64_t> shape = {static_cast<int64_t>(heads_), static_cast<int64_t>(size_)};
    if (tensor.shape != shape) {
      throw error(std::string("input ") + name + " has the shape " + text_of(tensor.shape) +
                  " where it must be " + text_of(shape) + ".");
    }
    return tensor.as<float>();
  }

  OfPairs<float> bias_of(const KernelContext& context, size_t batches, size_t queries,
                         size_t keys) const {
    if constexpr (Scores::kBias) {
      const auto bias = of_pairs<float>(context.input(3), "bias", {batches, heads_, queries, keys});
      if (bias.key == 0 && keys > 1) {
        throw error("input bias has one value for " + std::to_string(keys) + " keys.");
      }
      return bias;
    } else {
      return {};
    }
  }

  static OfPairs<uint8_t> mask_of(const Tensor& tensor, size_t batches, size_t queries,
                                  size_t keys) {
    auto mask = of_pairs<uint8_t>(tensor, "mask", {batches, 1, queries, keys});
    const bool shared = mask.batch + mask.query + mask.key == 0;
    if (shared && *mask.data == 0) mask.data = nullptr;
    return mask;
  }

  // A tensor that broadcasts to [batch, heads, queries, keys].
  template <class T>
  static OfPairs<T> of_pairs(const Tensor& tensor, const char* name,
                             const std::array<size_t, 4>& wanted) {
    std::array<size_t, 4> strides{};
    bool fits = tensor.shape.size() == wanted.size();
    size_t stride = 1;
    for (size_t axis = wanted.size(); fits && axis-- > 0;) {
      const auto size = static_cast<size_t>(tensor.shape[axis]);
      fits = size == wanted[axis] || size == 1;
      strides[axis] = size == 1 ? 0 : stride;
      stride *= size;
    }
    if (!fits) {
      throw error(std::string("input ") + name + " has the shape " + text_of(tensor.shape) +
                  " which does not broadcast to [" + std::to_string(wanted[0]) + ", " +
                  std::to_string(wanted[1]) + ", " + std::to_string(wanted[2]) + ", " +
                  std::to_string(wanted[3]) + "].");
    }
    return {tensor.as<T>(), strides[0], strides[1], strides[2], strides[3]};
  }

  // Packs keys, values and positions of every head, then computes blocks of queries. Every element
  // of y is computed by one task in one order, so the number of threads does not change a bit.
  void run(const KernelContext& context, const Rows& q, const Rows& k, const Rows& v,
           const Positions& met, const OfPairs<uint8_t>& mask, const OfPairs<float>& bias,
           float* y) const {
    const Rows& p = met.table;
    const size_t keys_size = kernel_.packed_bytes(size_, k.rows);
    const size_t values_size = kernel_.packed_bytes(k.rows, size_);
    const size_t positions_size = kernel_.packed_bytes(size_, p.rows);
    const size_t pairs = q.batches * heads_;
    const size_t tables = p.batches * met.heads;
    const KernelContext::Scratch scratch(
        context, pairs * (keys_size + values_size) + tables * positions_size);
    std::byte* keys = scratch.data();
    std::byte* values = keys + pairs * keys_size;
    std::byte* positions = values + pairs * values_size;

    context.parallel_for(pairs + tables, [&](size_t task) noexcept {
      if (task < tables) {
        const float* table = p.head(task / met.heads, columns_.back() + task % met.heads * size_);
        kernel_.pack_turned(table, p.stride, p.rows, size_, positions + task * positions_size);
        return;
      }
      const size_t pair = task - tables;
      const size_t batch = pair / heads_;
      const size_t column = pair % heads_ * size_;
      kernel_.pack_turned(k.head(batch, columns_[1] + column), k.stride, k.rows, size_,
                          keys + pair * keys_size);
      kernel_.pack_straight(v.head(batch, columns_[2] + column), v.stride, v.rows, size_,
                            values + pair * values_size);
    });

    const auto attend = Scores::kPositions ? kernel_.attend_with_positions : kernel_.attend;
    const size_t blocks = ceil_div(q.rows, kernel_.query_block);
    context.parallel_for(pairs * blocks, [&](size_t task) noexcept {
      const size_t pair = task / blocks;
      const size_t batch = pair / heads_;
      const size_t head = pair % heads_;
      const size_t begin = task % blocks * kernel_.query_block;
      const size_t table = (p.batches == 1 ? 0 : batch) * met.heads + (met.heads == 1 ? 0 : head);
      const AttentionHead problem{
          q.head(batch, columns_[0] + head * size_),
          q.stride,
          Scores::kPositions ? met.bias_u + head * size_ : nullptr,
          Scores::kPositions ? met.bias_v + head * size_ : nullptr,
          positions + table * positions_size,
          keys + pair * keys_size,
          values + pair * values_size,
          q.rows,
          k.rows,
          size_,
          scale_,
          mask.data == nullptr ? nullptr : mask.data + batch * mask.batch,
          mask.query,
          mask.key,
          uniform_,
          bias.data == nullptr ? nullptr : bias.data + batch * bias.batch + head * bias.head,
          bias.query,
          y + batch * q.rows * heads_ * size_ + head * size_,
          heads_ * size_,
      };
      attend(problem, {begin, std::min(begin + kernel_.query_block, q.rows)});
    });
  }

  const AttentionKernel& kernel_;
  const float scale_;
  size_t heads_ = 0;
  size_t size_ = 0;
  std::array<size_t, Scores::kPositions ? 4 : 3> columns_{};  // first of Q, K, V and perhaps P
  bool uniform_ = false;
};

const OperatorEntry plain{operator_of<Attention<OfKeys>>()};
const OperatorEntry biased{operator_of<Attention<OfKeysAndBias>>()};
const OperatorEntry relative{operator_of<Attention<OfKeysAndPositions>>()};
const OperatorEntry rounded_plain{operator_of<Attention<Rounded<OfKeys>>>()};
const OperatorEntry rounded_biased{operator_of<Attention<Rounded<OfKeysAndBias>>>()};
const OperatorEntry rounded_relative{operator_of<Attention<Rounded<OfKeysAndPositions>>>()};

}  // namespace
}  // namespace confpress

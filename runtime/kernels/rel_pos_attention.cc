// RelPosAttention: self-attention with relative positions; passes/relpos_attention.py defines it.
#include "rel_pos_attention.h"

#include <algorithm>
#include <array>

#include "cpu_path.h"
#include "custom_op.h"

namespace confpress {
namespace {

const RelPosAttentionKernel& kernel_of(CpuPath path) {
  switch (path) {
#if defined(CONFPRESS_HAS_AVX512VNNI)
    case CpuPath::kAvx512Vbmi:
    case CpuPath::kAvx512Vnni:
      return kRelPosAttentionAvx512Vnni;
#endif
#if defined(CONFPRESS_HAS_AVX2)
    case CpuPath::kAvxVnni:
    case CpuPath::kAvx2:
      return kRelPosAttentionAvx2;
#endif
    default:
      return kRelPosAttentionPortable;
  }
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

struct Mask {
  const uint8_t* data;
  size_t batch;  // bytes from one batch item, query and key to the next; 0 where they share one
  size_t query;
  size_t key;
};

class RelPosAttention {
 public:
  static constexpr const char* kName = "RelPosAttention";
  static constexpr ort::ElementType kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat,
                                                 ort::kFloat, ort::kFloat, ort::kBool};

  explicit RelPosAttention(const KernelInfo& info)
      : kernel_(kernel_of(cpu_path_choice().chosen.path)), scale_(info.number("scale")) {
    const std::vector<int64_t> shape = info.ints("shape");
    const std::vector<int64_t> columns = info.ints("columns");
    if (shape.size() != 2 || shape[0] < 1 || shape[0] > INT32_MAX || shape[1] < 1 ||
        shape[1] > static_cast<int64_t>(kMostHeadSize)) {
      throw Error("RelPosAttention's attribute shape is " + text_of(shape) +
                  " where it must be [heads, head size] with a head size from 1 to " +
                  std::to_string(kMostHeadSize) + ".");
    }
    if (columns.size() != columns_.size() ||
        std::any_of(columns.begin(), columns.end(),
                    [](int64_t c) { return c < 0 || c > INT32_MAX; })) {
      throw Error("RelPosAttention's attribute columns is " + text_of(columns) +
                  " where it must be the first columns of Q, K, V and P.");
    }
    heads_ = static_cast<size_t>(shape[0]);
    size_ = static_cast<size_t>(shape[1]);
    std::copy(columns.begin(), columns.end(), columns_.begin());
    const float uniform = info.number("uniform");
    if (uniform != 0.0f && uniform != 1.0f) {
      throw Error("RelPosAttention's attribute uniform must be 0 or 1.");
    }
    uniform_ = uniform == 1.0f;
  }

  void compute(KernelContext& context) const {
    const Rows q = rows_of(context.input(0), "Q", columns_[0]);
    const Rows k = rows_of(context.input(1), "K", columns_[1]);
    const Rows v = rows_of(context.input(2), "V", columns_[2]);
    const Rows p = rows_of(context.input(3), "P", columns_[3]);
    const float* bias_u = bias_of(context.input(4), "bias_u");
    const float* bias_v = bias_of(context.input(5), "bias_v");
    const Mask mask = mask_of(context.input(6), q.batches, q.rows, k.rows);
    if (k.batches != q.batches || v.batches != q.batches || v.rows != k.rows) {
      throw Error("RelPosAttention's inputs Q, K and V have different batches or frames.");
    }
    float* y = context.output(0, {static_cast<int64_t>(q.batches), static_cast<int64_t>(q.rows),
                                  static_cast<int64_t>(heads_ * size_)});
    if (q.batches * q.rows == 0) return;
    if (k.rows == 0) throw Error("RelPosAttention has queries and no keys.");
    if ((p.batches != 1 && p.batches != q.batches) || p.rows != q.rows + k.rows - 1) {
      throw Error("RelPosAttention's input P has " + std::to_string(p.batches) + " x " +
                  std::to_string(p.rows) + " distances where there are 1 or " +
                  std::to_string(q.batches) + " x " + std::to_string(q.rows + k.rows - 1) + ".");
    }
    run(context, q, k, v, p, bias_u, bias_v, mask, y);
  }

 private:
  Rows rows_of(const Tensor& tensor, const char* name, size_t column) const {
    if (tensor.shape.size() != 3 ||
        tensor.shape[2] < static_cast<int64_t>(column + heads_ * size_)) {
      throw Error(std::string("RelPosAttention's input ") + name + " has the shape " +
                  text_of(tensor.shape) + " where it must be [batch, frames, features] with " +
                  std::to_string(heads_ * size_) + " features from " + std::to_string(column) +
                  " on.");
    }
    return {tensor.as<float>(), static_cast<size_t>(tensor.shape[0]),
            static_cast<size_t>(tensor.shape[1]), static_cast<size_t>(tensor.shape[2])};
  }

  const float* bias_of(const Tensor& tensor, const char* name) const {
    const std::vector<int64_t> shape = {static_cast<int64_t>(heads_), static_cast<int64_t>(size_)};
    if (tensor.shape != shape) {
      throw Error(std::string("RelPosAttention's input ") + name + " has the shape " +
                  text_of(tensor.shape) + " where it must be " + text_of(shape) + ".");
    }
    return tensor.as<float>();
  }

  static Mask mask_of(const Tensor& tensor, size_t batches, size_t queries, size_t keys) {
    const std::array<size_t, 4> wanted = {batches, 1, queries, keys};
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
      throw Error("RelPosAttention's input mask has the shape " + text_of(tensor.shape) +
                  " which does not broadcast to [" + std::to_string(batches) + ", 1, " +
                  std::to_string(queries) + ", " + std::to_string(keys) + "].");
    }
    const auto* data = tensor.as<uint8_t>();
    const bool absent = stride == 1 && *data == 0;
    return {absent ? nullptr : data, strides[0], strides[2], strides[3]};
  }

  // Packs keys, values and positions of every head, then computes blocks of queries. Every element
  // of y is computed by one task in one order, so the number of threads does not change a bit.
  void run(const KernelContext& context, const Rows& q, const Rows& k, const Rows& v, const Rows& p,
           const float* bias_u, const float* bias_v, const Mask& mask, float* y) const {
    const size_t width = kernel_.width;
    const size_t keys_size = ceil_div(k.rows, width) * width * size_;
    const size_t values_size = ceil_div(size_, width) * width * k.rows;
    const size_t positions_size = ceil_div(p.rows, width) * width * size_;
    const size_t pairs = q.batches * heads_;
    const size_t tables = p.batches * heads_;
    const size_t floats = pairs * (keys_size + values_size) + tables * positions_size;
    const KernelContext::Scratch scratch(context, floats * sizeof(float));
    auto* keys = reinterpret_cast<float*>(scratch.data());
    float* values = keys + pairs * keys_size;
    float* positions = values + pairs * values_size;

    context.parallel_for(pairs + tables, [&](size_t task) noexcept {
      if (task < tables) {
        const float* table = p.head(task / heads_, columns_[3] + task % heads_ * size_);
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

    const size_t blocks = ceil_div(q.rows, kQueryBlock);
    context.parallel_for(pairs * blocks, [&](size_t task) noexcept {
      const size_t pair = task / blocks;
      const size_t batch = pair / heads_;
      const size_t head = pair % heads_;
      const size_t begin = task % blocks * kQueryBlock;
      const RelPosHead problem{
          q.head(batch, columns_[0] + head * size_),
          q.stride,
          bias_u + head * size_,
          bias_v + head * size_,
          keys + pair * keys_size,
          positions + (p.batches == 1 ? head : pair) * positions_size,
          values + pair * values_size,
          q.rows,
          k.rows,
          size_,
          scale_,
          mask.data == nullptr ? nullptr : mask.data + batch * mask.batch,
          mask.query,
          mask.key,
          uniform_,
          y + batch * q.rows * heads_ * size_ + head * size_,
          heads_ * size_,
      };
      kernel_.attend(problem, {begin, std::min(begin + kQueryBlock, q.rows)});
    });
  }

  const RelPosAttentionKernel& kernel_;
  const float scale_;
  size_t heads_ = 0;
  size_t size_ = 0;
  std::array<size_t, 4> columns_{};  // first columns of Q, K, V, P
  bool uniform_ = false;
};

const OperatorEntry entry{operator_of<RelPosAttention>()};

}  // namespace
}  // namespace confpress

// What the operators with sparse int8 weights read of a model, wherever they run.
#pragma once

#include <tuple>
#include <vector>

#include "base/custom_op.h"
#include "linear/linear_inputs.h"
#include "sparse/sparse_slots.h"

namespace confpress {

// W and columns are [strips, blocks, slots, 16, 4], or, if uneven, [strips, slots, 16, 4] with the
// block of each slot behind them; passes/operators/sparselinear.py and sparselinear_uneven.py.
struct SparseInt8Layer {
  size_t rows = 0;
  size_t columns = 0;
  size_t strips = 0;
  size_t blocks = 0;
  std::vector<int32_t> slots;       // of a strip: the block of each
  const int8_t* weights = nullptr;  // the initializers' own memory
  const uint8_t* places = nullptr;
  const float* scales = nullptr;
  const float* bias = nullptr;

  SparseInt8Layer(const char* op, const KernelInfo& info, bool uneven = false) {
    std::tie(rows, columns) = shape_attribute(op, info, kMostColumns);
    strips = ceil_div(rows, kStripRows);
    blocks = ceil_div(columns, kBlockColumns);
    const Tensor w = info.constant(1, "W");
    const Tensor c = info.constant(2, "columns");
    const Tensor s = info.constant(uneven ? 4 : 3, "scales");
    const Tensor b = info.constant(uneven ? 5 : 4, "bias");
    slots = uneven ? uneven_slots(op, w, info.constant(3, "blocks"), blocks)
                   : even_slots(op, w, 2, blocks);
    std::vector<int64_t> packed{static_cast<int64_t>(strips), static_cast<int64_t>(slots.size()),
                                kStripRows, kSlotValues};
    if (!uneven) {
      packed[1] = static_cast<int64_t>(blocks);
      packed.insert(packed.begin() + 2, static_cast<int64_t>(slots.size() / blocks));
    }
    require(op, w, "W", ort::kInt8, packed);
    require(op, c, "columns", ort::kUint8, packed);
    require(op, s, "scales", ort::kFloat, {static_cast<int64_t>(rows)});
    require(op, b, "bias", ort::kFloat, {static_cast<int64_t>(rows)});
    weights = w.as<int8_t>();
    places = c.as<uint8_t>();
    scales = s.as<float>();
    bias = b.as<float>();
  }

  size_t size() const { return strips * slots.size() * kSlotBytes; }
};

}  // namespace confpress

// What the operators with sparse weights in floating point read of a model, wherever they run.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <tuple>

#include "base/custom_op.h"
#include "base/ranges.h"
#include "linear/linear_inputs.h"
#include "sparse/sparse_columns.h"

namespace confpress {

// W and columns are [blocks, rows, kept]; passes/operators/sparselinear_float.py draws them.
struct SparseFloatLayer {
  static constexpr int64_t kMostColumns = 131072;

  size_t rows = 0;
  size_t columns = 0;
  size_t blocks = 0;
  size_t kept = 0;
  ort::ElementType type;
  const void* weights = nullptr;  // the initializers' own memory
  const uint8_t* places = nullptr;
  const float* bias = nullptr;

  // `types`: what W may be stored in.
  SparseFloatLayer(const char* op, const KernelInfo& info,
                   std::initializer_list<ort::ElementType> types) {
    std::tie(rows, columns) = shape_attribute(op, info, kMostColumns);
    blocks = ceil_div(columns, kSparseColumns);
    const Tensor w = info.constant(1, "W");
    const Tensor c = info.constant(2, "columns");
    const Tensor b = info.constant(3, "bias");
    const int64_t last = w.shape.size() == 3 ? w.shape[2] : 0;
    if (last < 1 || last > static_cast<int64_t>(kSparseColumns)) {
      throw Error(std::string(op) + "'s input W has the shape " + text_of(w.shape) +
                  " where it must have three dimensions, the last 1 to 64.");
    }
    kept = static_cast<size_t>(last);
    const std::vector<int64_t> packed{static_cast<int64_t>(blocks), static_cast<int64_t>(rows),
                                      last};
    const bool known = std::find(types.begin(), types.end(), w.type) != types.end();
    type = known ? w.type : *types.begin();
    require(op, w, "W", type, packed);
    require(op, c, "columns", ort::kUint8, packed);
    require(op, b, "bias", ort::kFloat, {static_cast<int64_t>(rows)});
    weights = w.data;
    places = c.as<uint8_t>();
    bias = b.as<float>();
  }

  // Non-zeros and the zeros that fill the places of others.
  size_t size() const { return blocks * rows * kept; }
  // W, whose element type is T.
  template <class T>
  const T* as() const {
    return static_cast<const T*>(weights);
  }

  // Refuses columns that are no columns of their block; `is_weight(i)` says whether number i of W
  // is none of the zeros, and c is what `places` points to, where the processor can read it.
  template <class IsWeight>
  void check_columns(const char* op, const uint8_t* c, const IsWeight& is_weight) const {
    size_t at = 0;
    for (size_t block = 0; block < blocks; ++block) {
      const size_t width = std::min(kSparseColumns, columns - block * kSparseColumns);
      for (size_t row = 0; row < rows; ++row) {
        uint64_t seen = 0;
        for (size_t i = 0; i < kept; ++i, ++at) take_column(op, c[at], is_weight(at), width, seen);
      }
    }
  }
};

}  // namespace confpress

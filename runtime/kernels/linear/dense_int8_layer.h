// What the operators with dense int8 weights read of a model, wherever they run.
#pragma once

#include <tuple>

#include "base/custom_op.h"
#include "linear/linear_inputs.h"
#include "linear/linear_int8.h"

namespace confpress {

// W is [strips, groups, 16, 4]; passes/operators/quantlinear.py.
struct DenseInt8Layer {
  size_t rows = 0;
  size_t columns = 0;
  size_t strips = 0;
  size_t groups = 0;
  const int8_t* weights = nullptr;  // the initializers' own memory
  const float* scales = nullptr;
  const float* bias = nullptr;

  DenseInt8Layer(const char* op, const KernelInfo& info) {
    std::tie(rows, columns) = shape_attribute(op, info, kMostColumns);
    strips = ceil_div(rows, kStripRows);
    groups = ceil_div(columns, kGroupColumns);
    const Tensor w = info.constant(1, "W");
    const Tensor s = info.constant(2, "scales");
    const Tensor b = info.constant(3, "bias");
    require(
        op, w, "W", ort::kInt8,
        {static_cast<int64_t>(strips), static_cast<int64_t>(groups), kStripRows, kGroupColumns});
    require(op, s, "scales", ort::kFloat, {static_cast<int64_t>(rows)});
    require(op, b, "bias", ort::kFloat, {static_cast<int64_t>(rows)});
    weights = w.as<int8_t>();
    scales = s.as<float>();
    bias = b.as<float>();
  }
};

}  // namespace confpress

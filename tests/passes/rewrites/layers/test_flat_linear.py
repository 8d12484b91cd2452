"""Products of flattened frames become products of frames; other Reshapes stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.rewrites.layers.flat_linear import FlatLinear
from onnx_ir.passes.common import ShapeInferencePass

from tests.passes.graphs import difference, operators, parse

DENSE = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 6] x, float[6, 4] w) => (float[b, t, u] y)
{{
  free = Constant <value_ints = [{axes}]> ()
  units = Constant <value_ints = [{units}]> ()
  rows = Constant <value_ints = [-1, {width}]> ()
  sizes = Shape (x)
  kept = Gather (sizes, free)
  shape = Concat <axis = 0> (kept, units)
  flat = Reshape (x, rows)
  product = MatMul (flat, w)
  y = Reshape (product, shape)
}}"""


def build(axes: str = "0, 1", units: int = 4, width: int = 6) -> ir.Model:
    weight = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    text = DENSE.format(axes=axes, units=units, width=width)
    return ShapeInferencePass()(parse(text, w=weight)).model


def test_the_product_of_frames() -> None:
    original, model = build(), build()
    assert len(FlatLinear()(model).changes) == 1
    assert operators(model) == ["MatMul"]
    for shape in ((1, 1, 6), (3, 5, 6)):
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        assert difference(model, original, {"x": x}) < 1e-6


@pytest.mark.parametrize(
    ("axes", "units"),
    [pytest.param("1, 0", 4, id="axes in another order"), pytest.param("0, 1", -1, id="any width")],
)
def test_only_what_evaluates_to_the_product(axes: str, units: int) -> None:
    model = build(axes, units)
    assert FlatLinear()(model).modified == (units == -1)


def test_rows_of_several_frames_stay() -> None:
    """Two frames of 3 are one row of 6, as in a reduction of time."""
    model = parse(
        """<ir_version: 10, opset_import: ["": 21]>
        net (float[b, t, 3] x, float[6, 4] w) => (float[b, u, 4] y) {
          rows = Constant <value_ints = [-1, 6]> ()
          rest = Constant <value_ints = [-1, 4]> ()
          batch = Shape <start = 0, end = 1> (x)
          shape = Concat <axis = 0> (batch, rest)
          flat = Reshape (x, rows)
          product = MatMul (flat, w)
          y = Reshape (product, shape)
        }""",
        w=np.ones((6, 4), np.float32),
    )
    assert not FlatLinear()(ShapeInferencePass()(model).model).modified

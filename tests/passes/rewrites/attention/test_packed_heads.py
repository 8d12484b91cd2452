"""A projection whose columns are sorted by head gives its parts in one piece."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.rewrites.attention.packed_heads import PackedHeads
from confpress.passes.rewrites.identities import RemoveIdentities

from tests.passes.graphs import difference, operators, parse

RANDOM = np.random.default_rng(0)
SPLIT = "q, k, v = Split <axis = -1, num_outputs = 3> (heads)"
SLICES = """
  zero = Constant <value_ints = [0]> ()
  three = Constant <value_ints = [3]> ()
  six = Constant <value_ints = [6]> ()
  most = Constant <value_ints = [9223372036854775807]> ()
  last = Constant <value_ints = [-1]> ()
  q = Slice (heads, zero, three, last)
  k = Slice (heads, three, six, last)
  v = Slice (heads, six, most, last)"""


def attention(cut: str, shape: str = "0, 0, 2, 9", linear: str = "Add (product, b)") -> ir.Model:
    model = parse(
        f"""
    <ir_version: 10, opset_import: ["": 21]>
    net (float[n, t, 5] x, float[5, 18] w, float[18] b) => (float[n, t, h, 3] y)
    {{
      product = MatMul (x, w)
      packed = {linear}
      shape = Constant <value_ints = [{shape}]> ()
      heads = Reshape (packed, shape)
      {cut}
      sum = Mul (q, k)
      y = Sub (sum, v)
    }}""",
        w=RANDOM.standard_normal((5, 18)).astype(np.float32),
        b=RANDOM.standard_normal(18).astype(np.float32),
    )
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    return common.ShapeInferencePass()(model).model


@pytest.mark.parametrize("linear", ["Add (product, b)", "Identity (product)"])
@pytest.mark.parametrize("cut", [SPLIT, SLICES])
def test_parts_are_cut_before_heads(cut: str, linear: str) -> None:
    model = attention(cut, linear=linear)
    if linear.startswith("Identity"):
        RemoveIdentities()(model)
    original = model.clone()
    (change,) = PackedHeads()(model).changes
    assert change.what == "its 3 parts are cut before its 2 heads"
    found = operators(model)
    assert found.index("Split") < found.index("Reshape")
    assert "Slice" not in found
    for sizes in ((1, 4), (3, 7)):
        x = RANDOM.standard_normal((*sizes, 5)).astype(np.float32)
        assert difference(original, model, {"x": x}) < 1e-6


@pytest.mark.parametrize(
    ("cut", "shape"),
    [
        (SLICES.replace("six, most", "three, most"), "0, 0, 2, 9"),  # parts of two sizes
        ("q = Identity (heads)  k = Relu (heads)  v = Abs (heads)", "0, 0, 2, 9"),
        (SPLIT, "0, -1, 1, 18"),  # a single head
    ],
)
def test_what_is_read_otherwise_stays(cut: str, shape: str) -> None:
    model = attention(cut, shape)
    before = operators(model)
    assert not PackedHeads()(model).modified
    assert operators(model) == before

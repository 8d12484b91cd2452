"""Parts of one projection that are read apart become one Split."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.rewrites.attention.packed_parts import PackedParts

from tests.passes.graphs import difference, operators, parse

RANDOM = np.random.default_rng(0)
#: As nn.MultiheadAttention does: [..., 3, 2], the parts in front.
GATHERED = """
  frames = Shape <end = 2> (x)
  axes = Constant <value_ints = [3, 2]> ()
  sizes = Concat <axis = 0> (frames, axes)
  apart = Reshape (packed, sizes)
  first = Constant <value_ints = [0]> ()
  lifted = Unsqueeze (apart, first)
  fronted = Transpose <perm = [3, 1, 2, 0, 4]> (lifted)
  fourth = Constant <value_ints = [3]> ()
  parts = Squeeze (fronted, fourth)
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  two = Constant <value_int = 2> ()
  v = Gather (parts, two)
  q = Gather (parts, zero)
  k = Gather (parts, one)"""
#: As icefall does.
SLICED = """
  zero = Constant <value_ints = [0]> ()
  two = Constant <value_ints = [2]> ()
  four = Constant <value_ints = [4]> ()
  six = Constant <value_ints = [6]> ()
  last = Constant <value_ints = [-1]> ()
  k = Slice (packed, two, four, last)
  q = Slice (packed, zero, two, last)
  v = Slice (packed, four, six, last)"""


def projection(cut: str) -> ir.Model:
    model = parse(
        f"""
    <ir_version: 10, opset_import: ["": 21]>
    net (float[t, b, 5] x, float[5, 6] w, float[6] bias) => (float[t, b, 2] y)
    {{
      product = MatMul (x, w)
      packed = Add (product, bias)
      {cut}
      sum = Mul (q, k)
      y = Sub (sum, v)
    }}""",
        w=RANDOM.standard_normal((5, 6)).astype(np.float32),
        bias=RANDOM.standard_normal(6).astype(np.float32),
    )
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    return common.ShapeInferencePass()(model).model


@pytest.mark.parametrize("cut", [GATHERED, SLICED], ids=["gathered", "sliced"])
def test_parts_become_one_split(cut: str) -> None:
    model = projection(cut)
    original = model.clone()
    (change,) = PackedParts()(model).changes
    assert change.what == "its 3 parts are taken apart by one Split"
    assert operators(model) == ["MatMul", "Add", "Split", "Mul", "Sub"]
    for sizes in ((1, 4), (7, 3)):
        x = RANDOM.standard_normal((*sizes, 5)).astype(np.float32)
        assert difference(model, original, {"x": x}) == 0


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(GATHERED.replace("[3, 2]", "[2, 3]"), id="other axes in front"),
        pytest.param(GATHERED.replace("[3, 1, 2, 0, 4]", "[3, 2, 1, 0, 4]"), id="batch first"),
        pytest.param(GATHERED.replace("(parts, two)", "(parts, one)"), id="a part is missing"),
        pytest.param(SLICED.replace("(packed, two, four", "(packed, zero, two"), id="one twice"),
        pytest.param(SLICED.replace("[-1]", "[0]"), id="frames"),
    ],
)
def test_other_parts_stay(cut: str) -> None:
    model = projection(cut)
    before = operators(model)
    assert not PackedParts()(model).modified
    assert operators(model) == before

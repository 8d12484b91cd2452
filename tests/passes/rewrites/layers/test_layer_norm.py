"""Layer normalisation in nine nodes becomes one, and computes the same."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.base import run
from confpress.passes.rewrites.layers.layer_norm import LayerNorm
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from ...graphs import difference, operators, parse

X = 3 + np.random.default_rng(0).standard_normal((2, 5, 8)).astype(np.float32)
#: A norm of the norm.
AGAIN = """n = Add (w, shift)
  m2 = ReduceMean <keepdims = 1> (n, axes)
  c2 = Sub (n, m2)
  q2 = Pow (c2, two)
  v2 = ReduceMean <keepdims = 1> (q2, axes)
  e2 = Add (v2, eps)
  r2 = Sqrt (e2)
  z2 = Div (c2, r2)
  y = Mul (z2, shift)"""
#: Two norms of one value, which share what is before their weights.
TWICE = "n = Add (w, shift)  o = Mul (shift, z)  p = Add (scale, o)  y = Sub (n, p)"


def model(axis: int = -1, *, bias: str = "y = Add (w, shift)") -> ir.Model:
    random = np.random.default_rng(1)
    made = parse(
        '<ir_version: 10, opset_import: ["": 21]> '
        f"""g (float[b, 5, 8] x, float[8] scale, float[8] shift) => (float[b, 5, 8] y) {{
  axes = Constant <value_ints = [{axis}]> ()
  two = Constant <value = float {{2.0}}> ()
  eps = Constant <value = float {{0.001}}> ()
  m = ReduceMean <keepdims = 1> (x, axes)
  c = Sub (x, m)
  q = Pow (c, two)
  v = ReduceMean <keepdims = 1> (q, axes)
  e = Add (v, eps)
  r = Sqrt (e)
  z = Div (c, r)
  w = Mul (z, scale)
  {bias}
}}""",
        scale=random.standard_normal(8).astype(np.float32),
        shift=random.standard_normal(8).astype(np.float32),
    )
    ShapeInferencePass()(made)
    return made


@pytest.mark.parametrize("axis", [-1, 2])
@pytest.mark.parametrize("bias", ["y = Add (w, shift)", "y = Relu (w)", AGAIN, TWICE])
def test_one_operator(axis: int, bias: str) -> None:
    written = model(axis, bias=bias)
    assert len(run([LayerNorm()], written).changes) == (2 if bias in (AGAIN, TWICE) else 1)
    assert operators(written)[0] == "LayerNormalization"
    assert not {"ReduceMean", "Pow", "Sqrt"} & set(operators(written))
    assert difference(written, model(axis, bias=bias), {"x": X}) < 1e-5


def test_a_mean_over_frames_stays() -> None:
    written = model(1)
    (refusal,) = run([LayerNorm()], written).refusals
    assert "features alone" in refusal.reason
    assert "Sqrt" in operators(written)


@pytest.mark.parametrize(
    "end", ["s = Add (z, shift)  y = Mul (s, scale)", "y = Relu (z)", "y = Add (z, shift)"]
)
def test_a_norm_without_a_weight_gets_ones(end: str) -> None:
    written = model(bias=end)
    RemoveUnusedNodesPass()(written)  # the other weight
    assert len(run([LayerNorm()], written).changes) == 1
    assert operators(written)[0] == "LayerNormalization"
    assert "Sqrt" not in operators(written)
    assert difference(written, model(bias=end), {"x": X}) < 1e-5


def test_a_norm_of_unknown_width_without_a_weight_stays() -> None:
    written = model(bias="y = Relu (z)")
    RemoveUnusedNodesPass()(written)
    written.graph.inputs[0].shape = ir.Shape(["b", "t", "c"])
    (refusal,) = run([LayerNorm()], written).refusals
    assert "width is not known" in refusal.reason
    assert "Sqrt" in operators(written)


def test_a_norm_with_a_weight_of_more_axes_stays() -> None:
    row = "Constant <value = float[1, 8] {1, 2, 3, 4, 5, 6, 7, 8}> ()"
    written = model(bias=f"row = {row} y = Mul (z, row)")
    RemoveUnusedNodesPass()(written)
    (refusal,) = run([LayerNorm()], written).refusals
    assert "no vector" in refusal.reason

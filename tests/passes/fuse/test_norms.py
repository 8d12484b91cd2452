"""Residual sums with their norms: what they compute, and what is left alone."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.fuse.norms import FuseAddNorm

from ..graphs import evaluate, operators, parse

# Two half-step modules; a norm ends the block, as in a Conformer.
GRAPH = """
<ir_version: 10, opset_import: ["": {opset}]>
net (float[b, t, 6] x, float[6] g, float[6] h, float[6, 24] w1, float[24, 6] w2, float[6, 24] w3,
     float[24, 6] w4) => (float[b, t, 6] y)
{{
  half = Constant <value_float = 0.5> ()
  n1 = LayerNormalization (x, g, h)
  a1 = MatMul (n1, w1)
  r1 = Relu (a1)
  b1 = MatMul (r1, w2)
  s1 = Mul (half, b1)
  x1 = Add (s1, x)
  n2 = LayerNormalization <epsilon = 0.001> (x1, g, h)
  a2 = MatMul (n2, w3)
  r2 = Relu (a2)
  b2 = MatMul (r2, w4)
  x2 = Add (x1, b2)
  n3 = LayerNormalization (x2, h, g)
  {end}
}}"""


def _model(end: str, opset: int = 21, kind: type[np.floating] = np.float32) -> ir.Model:
    generator = np.random.default_rng(0)
    weights = {
        name: generator.standard_normal(shape, np.float32).astype(kind)
        for name, shape in {
            "g": (6,), "h": (6,), "w1": (6, 24), "w2": (24, 6), "w3": (6, 24), "w4": (24, 6),
        }.items()
    }  # fmt: skip
    return parse(GRAPH.format(end=end, opset=opset), **weights)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("y = Relu (n3)", ["AddNorm", "AddNorm"]),
        ("y = LayerNormalization <epsilon = 0.01> (n3, g, h)", ["AddNorm", "AddNormNorm"]),
        ("y = LayerNormalization (n3, g)", ["AddNorm", "AddNormNorm"]),
        ("n4 = LayerNormalization (n3, g, h) y = Add (n4, x2)", ["AddNorm", "AddNorm"]),
    ],
)
def test_same_outputs(end: str, expected: list[str]) -> None:
    original, model = _model(end), _model(end)
    result = FuseAddNorm()(model)
    assert len(result.changes) == 2
    assert [name for name in operators(model) if name.startswith("AddNorm")] == expected
    assert "Mul" not in operators(model)
    for batch, frames in ((1, 1), (2, 9)):
        x = np.random.default_rng(2).standard_normal((batch, frames, 6), np.float32)
        (wanted,), (y,) = evaluate(original, {"x": x}), evaluate(model, {"x": x})
        np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-4)


def test_sum_without_a_norm_is_left_alone() -> None:
    model = _model("y = Add (n3, x2)")
    for node in list(model.graph):
        if node.outputs[0].name == "n3":
            node.attributes["axis"] = ir.AttrInt64("axis", 1)
    result = FuseAddNorm()(model)
    assert [change.where for change in result.changes] == ["encoder.layers.0.feed_forward"]
    assert any("more than the last axis" in refusal.reason for refusal in result.refusals)


def test_old_opsets_are_refused() -> None:
    model = _model("y = Relu (n3)")
    model.graph.opset_imports[""] = 16
    (refusal,) = FuseAddNorm()(model).refusals
    assert "from opset 17 on" in refusal.reason


def test_float16_is_left_alone() -> None:
    model = _model("y = Relu (n3)", kind=np.float16)
    result = FuseAddNorm()(model)
    assert not result.changes
    assert all("in float16" in refusal.reason for refusal in result.refusals)

"""Channels balanced between convolutions: the same in float, less lost in int8."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from confpress.passes.quantize import int8_codes
from confpress.passes.smooth_convolutions import SmoothConvolutions

from .graphs import difference, evaluate, operators, parse

GRAPH = """
<ir_version: 10, opset_import: ["": 17]>
net (float[b, 1, t, 10] x, bool[b, 1, u, 1] mask, float[6, 1, 3, 3] v, float[6] c,
     float[{outputs}, {inputs}, 3, 3] w) => (float[b, n, s, f] y)
{{
  p = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, v, c)
  {between}
  y = Conv <group = {group}, strides = [2, 2], pads = [1, 1, 1, 1]> (q, w)
}}"""
RELU = "q = Relu (p)"
MASKED = "r = Relu (p) sizes = Shape (r) keep = Cast <to = 1> (mask) q = Mul (r, keep)"
LOUDNESS = np.array([0.01, 0.1, 1, 3, 10, 0], np.float32)


def _model(between: str = RELU, outputs: int = 5, group: int = 1) -> ir.Model:
    generator = np.random.default_rng(0)
    inputs = 6 // group
    text = GRAPH.format(between=between, outputs=outputs, inputs=inputs, group=group)
    weights = generator.standard_normal((outputs, inputs, 3, 3), np.float32)
    if group == 1:
        weights /= np.sqrt(LOUDNESS + 0.01)[:, None, None]
    return parse(
        text,
        v=generator.standard_normal((6, 1, 3, 3), np.float32) * LOUDNESS[:, None, None, None],
        c=generator.standard_normal(6, np.float32) * LOUDNESS,
        w=weights,
    )


def _feeds(frames: int) -> dict[str, npt.NDArray[np.generic]]:
    generator = np.random.default_rng(1)
    return {
        "x": generator.standard_normal((2, 1, frames, 10), np.float32),
        "mask": generator.random((2, 1, -(-frames // 2), 1)) < 0.7,
    }


def _rounded(model: ir.Model) -> ir.Model:
    """With the last convolution's weights as int8 has them."""
    node = next(n for n in model.graph if n.outputs[0].name == "y")
    value = node.inputs[1]
    assert value is not None and value.const_value is not None
    weights = value.const_value.numpy()
    codes, scales = int8_codes(weights.reshape(len(weights), -1))
    value.const_value = ir.tensor((codes * scales[:, None]).reshape(weights.shape))
    return model


@pytest.mark.parametrize("between", [RELU, MASKED, "q = Identity (p)"])
def test_the_same_in_float(between: str) -> None:
    original, model = _model(between), _model(between)
    ir.passes.common.IdentityEliminationPass()(model)
    assert SmoothConvolutions()(model).modified
    for frames in (9, 24):
        feeds = _feeds(frames)
        scale = float(np.abs(evaluate(original, feeds)[0]).max())
        assert difference(original, model, feeds) < 1e-5 * scale


def test_int8_loses_less() -> None:
    feeds = _feeds(40)
    (exact,) = evaluate(_model(), feeds)
    smoothed = _model()
    SmoothConvolutions()(smoothed)
    before = np.abs(evaluate(_rounded(_model()), feeds)[0] - exact).mean()
    after = np.abs(evaluate(_rounded(smoothed), feeds)[0] - exact).mean()
    assert after < 0.7 * before


@pytest.mark.parametrize(
    ("between", "outputs", "group"),
    [("q = Sigmoid (p)", 5, 1), (RELU, 6, 6), ("q = Relu (p) z = Relu (p)", 5, 1)],
)
def test_what_minds_a_factor_stays(between: str, outputs: int, group: int) -> None:
    model = _model(between, outputs, group)
    assert not SmoothConvolutions()(model).modified
    assert not SmoothConvolutions(strength=0)(_model()).modified
    assert "Conv" in operators(model)


def test_strength_is_a_share() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        SmoothConvolutions(strength=2)

"""Smoothing: float outputs stay, outlier channels cost less in int8."""

from __future__ import annotations

import numpy as np
import pytest
from confpress.passes.quantize import Quantize
from confpress.passes.smooth import Smooth, channel_factors

from tests.passes.graphs import difference, evaluate, parse

RANDOM = np.random.default_rng(0)
NET = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 48] x, float[48] g, float[48] h, float[48, 64] v, float[48, 32] w)
  => (float[b, t, 64] y, float[b, t, 32] z)
{ n = LayerNormalization (x, g, h)  y = MatMul (n, v)  z = MatMul (n, w) }"""


def arrays() -> dict[str, np.ndarray]:
    scale = np.abs(RANDOM.standard_normal(48)).astype(np.float32) + 0.1
    scale[7] = 60.0
    weights = RANDOM.standard_normal((48, 96)).astype(np.float32)
    weights[7] /= 60
    return {
        "g": scale,
        "h": RANDOM.standard_normal(48).astype(np.float32),
        "v": weights[:, :64].copy(),
        "w": weights[:, 64:].copy(),
    }


def frames() -> dict[str, np.ndarray]:
    return {"x": RANDOM.standard_normal((2, 9, 48)).astype(np.float32)}


def test_float_outputs_stay_and_int8_errors_shrink() -> None:
    stored, feeds = arrays(), frames()
    original = parse(NET, **stored)
    smoothed = parse(NET, **stored)
    assert len(Smooth()(smoothed).changes) == 1
    assert difference(original, smoothed, feeds) < 1e-4
    expected = evaluate(original, feeds)
    errors = []
    for model in (original, smoothed):
        Quantize()(model)
        actual = evaluate(model, feeds)
        errors.append(
            sum(float(np.square(a - b).sum()) for a, b in zip(actual, expected, strict=True))
        )
    assert errors[1] < errors[0] / 4


def test_a_norm_that_feeds_the_residual_stream_is_refused() -> None:
    model = parse(
        """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 48] x, float[48] g, float[48] h, float[48, 48] v) => (float[b, 48] y)
    { n = LayerNormalization (x, g, h)  p = MatMul (n, v)  y = Add (n, p) }""",
        g=np.ones(48, np.float32),
        h=np.zeros(48, np.float32),
        v=np.eye(48, dtype=np.float32),
    )
    result = Smooth()(model)
    assert not result.modified
    assert "more than linear layers" in result.refusals[0].reason


@pytest.mark.parametrize(
    ("kind", "axis", "shape", "reason"),
    [
        (np.float16, -1, [48], "not stored in float32"),
        (np.float32, -1, [1], "not one number for each channel"),
        (np.float32, -2, [9, 48], "not one number for each channel"),
    ],
)
def test_norms_of_another_form_are_refused(
    kind: type[np.floating], axis: int, shape: list[int], reason: str
) -> None:
    text = NET.replace("LayerNormalization", f"LayerNormalization <axis = {axis}>")
    if kind is np.float16:
        text = text.replace("float[", "float16[")
    stored = {name: array.astype(kind) for name, array in arrays().items()}
    stored |= {name: np.ones(shape, kind) for name in "gh"}
    result = Smooth()(parse(text, **stored))
    assert not result.modified
    assert reason in result.refusals[0].reason


def test_factors_balance_both_sides() -> None:
    activations = np.array([8.0, 2.0, 0.0], np.float32)
    weights = np.array([2.0, 2.0, 5.0], np.float32)
    factors = channel_factors(activations, weights, 0.5)
    assert factors[2] == 1
    left, right = activations / factors, weights * factors
    assert left[0] / left[1] == pytest.approx(right[0] / right[1])
    assert np.prod(factors[:2]) == pytest.approx(1, rel=1e-6)


def test_strength_is_a_share() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Smooth(strength=1.5)
    model = parse(NET, **arrays())
    assert not Smooth(strength=0)(model).modified

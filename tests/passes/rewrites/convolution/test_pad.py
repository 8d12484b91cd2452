"""Zeros in front of a convolution become its padding."""

from __future__ import annotations

import numpy as np
import pytest
from confpress.passes.base import run
from confpress.passes.rewrites.convolution.pad import PadIntoConv

from ...graphs import difference, operators, parse


def text(pad: str) -> str:
    return f"""
<ir_version: 10, opset_import: ["": 21]>
net (float[b, 4, t] x, float[4, 4, k] w) => (float[b, 4, u] y)
<int64[6] all = {{0, 0, 2, 0, 0, 1}}, int64[2] some = {{2, 1}}, int64[1] last = {{-1}},
 float zero = {{0.0}}, float one = {{1.0}}, int64[6] channels = {{0, 1, 2, 0, -1, 1}}> {{
  padded = {pad}
  y = Conv <pads = [1, 0]> (padded, w)
}}"""


def weight(taps: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, 4, taps)).astype(np.float32)


X = np.random.default_rng(1).standard_normal((2, 4, 7)).astype(np.float32)


@pytest.mark.parametrize("pad", ["Pad (x, all)", "Pad (x, some, zero, last)"])
def test_joined(pad: str) -> None:
    model, original = (parse(text(pad), w=weight(3)) for _ in range(2))
    assert len(run([PadIntoConv()], model).changes) == 1
    assert operators(model) == ["Conv"]
    assert difference(model, original, {"x": X}) == 0


@pytest.mark.parametrize(
    ("pad", "taps"),
    [
        pytest.param("Pad (x, all)", 1, id="a pointwise convolution is a product of frames"),
        pytest.param("Pad (x, all, one)", 3, id="other numbers"),
        pytest.param('Pad <mode = "edge"> (x, all)', 3, id="edges"),
        pytest.param("Pad (x, channels)", 3, id="channels"),
    ],
)
def test_left_alone(pad: str, taps: int) -> None:
    assert not run([PadIntoConv()], parse(text(pad), w=weight(taps))).modified

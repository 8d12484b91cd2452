"""Small integer convolutions compute in float32 again."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.lower.decoded_convolutions import DecodeConvolutions
from confpress.passes.quantize import Quantize, Range

from tests.passes.graphs import difference, operators, parse

RANDOM = np.random.default_rng(0)


def quantised(follows: str, inputs: int = 1, outputs: int = 8) -> tuple[ir.Model, ir.Model]:
    """In float32 and in int8; what follows gives y, [b, .., u, v]."""
    model = parse(
        f"""
        <ir_version: 10, opset_import: ["": 21]>
        net (float[b, {inputs}, t, 20] x, float[{outputs}, {inputs}, 3, 3] w,
             float[16, {outputs}, 3, 3] v) => (float[b, n, p, q] y)
        {{ r = Conv <pads = [1, 1, 1, 1]> (x, w)
           {follows} }}""",
        w=RANDOM.standard_normal((outputs, inputs, 3, 3)).astype(np.float32),
        v=RANDOM.standard_normal((16, outputs, 3, 3)).astype(np.float32),
    )
    original = model.clone()
    ranges = {"x": Range(-4, 4), "r": Range(-20, 20), "s": Range(-200, 200)}
    Quantize(ranges=ranges)(model)
    return original, model


def feeds(inputs: int = 1) -> dict[str, np.ndarray]:
    return {"x": RANDOM.uniform(-3, 3, (2, inputs, 11, 20)).astype(np.float32)}


def test_what_floats_read_is_not_quantised_at_all() -> None:
    original, model = quantised("g = Sigmoid (r)  y = Mul (r, g)")
    result = DecodeConvolutions()(model)
    assert [change.what for change in result.changes] == ["float32, as it makes 8 channels of 1"]
    assert operators(model) == ["Conv", "Sigmoid", "Mul"]
    # Weights keep what their codes mean: half a step of 1 / 127 of the largest, nine of them.
    assert 0 < difference(original, model, feeds()) < 0.2


def test_what_a_convolution_reads_stays_quantised() -> None:
    _, model = quantised("s = Conv (r, v)  y = Identity (s)")
    result = DecodeConvolutions()(model)
    assert len(result.changes) == 1
    first, second = (node for node in model.graph if node.op_type == "Conv")
    assert first.inputs[0] is model.graph.inputs[0]
    decode = second.inputs[0].producer()  # type: ignore[union-attr]
    assert decode is not None and decode.op_type == "DequantizeLinear"


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 16), (8, 8)])
def test_larger_ones_stay_integers(inputs: int, outputs: int) -> None:
    _, model = quantised("g = Sigmoid (r)  y = Mul (r, g)", inputs, outputs)
    assert not DecodeConvolutions()(model).modified


def test_convolutions_in_float32_are_left_alone() -> None:
    original, _ = quantised("y = Identity (r)")
    assert not DecodeConvolutions()(original).modified

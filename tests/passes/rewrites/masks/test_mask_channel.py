"""A mask behind the first convolution becomes a channel of its input, where that is the same."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.base import run
from confpress.passes.rewrites.masks.mask_channel import MaskChannel

from ...graphs import Arrays, evaluate, operators, parse

CHANNELS, MELS = 4, 7
BEHIND = """
keep = Cast <to = 1> (m)
h = Mul (a, keep)
y = Conv <pads = [1, 1, 1, 1]> (h, second)
"""


def _model(
    *,
    pads: str = "1, 1, 1, 1",
    stride: int = 2,
    kernel: int = 3,
    activation: str = "Relu",
    mask: str = "m",
    behind: str = BEHIND,
) -> ir.Model:
    """Features x [b, 1, t, 7] and lengths n [b], or a mask of frames m that is given."""
    generator = np.random.default_rng(0)
    lengths = """
    sizes = Shape <start = 2, end = 3> (a)
    frames = Squeeze (sizes)
    counted = Range (nothing, frames, step)
    row = Unsqueeze (n, last)
    kept = Less (counted, row)
    m = Unsqueeze (kept, middle)
    """
    given = "int64[b] n" if mask == "lengths" else "bool[b, 1, u, 1] m"
    model = parse(
        f"""<ir_version: 10, opset_import: ["": 18]>
        net (float[b, 1, t, {MELS}] x, {given}, float[{CHANNELS}, 1, {kernel}, {kernel}] first,
             float[{CHANNELS}] bias, float[2, {CHANNELS}, 3, 3] second, int64 nothing, int64 step,
             int64[1] last, int64[2] middle) => (float[b, 2, v, w] y) {{
          c = Conv <strides = [{stride}, {stride}], pads = [{pads}]> (x, first, bias)
          a = {activation} (c)
          {lengths if mask == "lengths" else ""}
          {behind}
        }}""",
        first=generator.standard_normal((CHANNELS, 1, kernel, kernel), np.float32),
        bias=generator.standard_normal(CHANNELS, np.float32),
        second=generator.standard_normal((2, CHANNELS, 3, 3), np.float32),
        nothing=np.array(0),
        step=np.array(1),
        last=np.array([1]),
        middle=np.array([1, 3]),
    )
    common.ShapeInferencePass()(model)
    return model


def _feeds(frames: int, *, stride: int = 2, padded: int = 2, kernel: int = 3) -> Arrays:
    generator = np.random.default_rng(frames)
    places = (frames + padded - kernel) // stride + 1
    mask = np.ones((2, 1, places, 1), bool)
    mask[1, :, places // 2 :] = False
    return {"x": generator.standard_normal((2, 1, frames, MELS), np.float32), "m": mask}


@pytest.mark.parametrize("frames", [9, 10, 11, 12])
@pytest.mark.parametrize(
    ("pads", "padded", "stride", "kernel"),
    [
        ("1, 1, 1, 1", 2, 2, 3),
        ("0, 0, 0, 0", 0, 2, 3),
        ("2, 1, 0, 1", 2, 2, 3),  # causal
        ("1, 1, 1, 1", 2, 1, 3),
        ("2, 2, 2, 2", 4, 3, 5),
    ],
)
def test_masked_places_are_zero_and_the_others_what_they_were(
    frames: int, pads: str, padded: int, stride: int, kernel: int
) -> None:
    model = _model(pads=pads, stride=stride, kernel=kernel)
    feeds = _feeds(frames, stride=stride, padded=padded, kernel=kernel)
    (expected,) = evaluate(model, feeds)
    (change,) = run([MaskChannel()], model).changes
    assert "channel of its input" in change.what
    assert "Mul" not in operators(model)
    (got,) = evaluate(model, feeds)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("frames", [9, 12])
def test_a_mask_of_the_results_own_length_is_taken_from_the_input(frames: int) -> None:
    model = _model(mask="lengths")
    feeds = {"x": _feeds(frames)["x"], "n": np.array([2, 4])}
    (expected,) = evaluate(model, feeds)
    run([MaskChannel()], model)
    relu = next(node for node in model.graph if node.op_type == "Relu")
    assert [user.op_type for user in relu.outputs[0].consumers()] == ["Conv"]
    (got,) = evaluate(model, feeds)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"activation": "Tanh"},  # which is not zero far below zero
        {"behind": BEHIND.replace("y =", "o =") + "r = ReduceMax (a) y = Add (o, r)"},
        {"behind": BEHIND.replace("y = Conv", "o = Neg (h) y = Conv").replace("(h, s", "(o, s")},
        {"pads": "3, 1, 3, 1"},  # the first place reads padding alone
        {"pads": "2, 2, 1, 1"},  # NeMo's causal: of 12 frames the tap at 0 reads 0, 2, ... 12
    ],
)
def test_others_stay(change: dict[str, str]) -> None:
    model = _model(**change)
    before = operators(model)
    assert not run([MaskChannel()], model).changes
    assert operators(model) == before

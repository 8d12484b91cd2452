"""Pointwise convolutions become MatMul; everything else is refused with its reason."""

from __future__ import annotations

import numpy as np
import pytest
from confpress.passes.rewrites.convolution.pointwise import PointwiseConvToMatMul

from tests.passes.graphs import difference, operators, parse

RANDOM = np.random.default_rng(0)
BETWEEN_TRANSPOSES = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 6] x, float[8, 6, 1] w, float[8] bias) => (float[b, t, 8] y)
{
  c = Transpose <perm = [0, 2, 1]> (x)
  z = Conv <kernel_shape = [1]> (c, w, bias)
  y = Transpose <perm = [0, 2, 1]> (z)
}"""
ALONE = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, 6, t] x, float[8, 6, 1] w) => (float[b, 8, t] y)
{ y = Conv <kernel_shape = [1]> (x, w) }"""


def weights() -> dict[str, np.ndarray]:
    return {
        "w": RANDOM.standard_normal((8, 6, 1)).astype(np.float32),
        "bias": RANDOM.standard_normal(8).astype(np.float32),
    }


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (3, 17)])
def test_between_transposes_nothing_but_matmul_and_bias_remains(batch: int, frames: int) -> None:
    arrays = weights()
    model, original = parse(BETWEEN_TRANSPOSES, **arrays), parse(BETWEEN_TRANSPOSES, **arrays)
    result = PointwiseConvToMatMul()(model)
    assert result.modified
    assert operators(model)[:2] == ["MatMul", "Add"]
    feeds = {"x": RANDOM.standard_normal((batch, frames, 6)).astype(np.float32)}
    assert difference(model, original, feeds) < 1e-5


def test_channels_first_result_is_transposed_back() -> None:
    weight = weights()["w"]
    model, original = parse(ALONE, w=weight), parse(ALONE, w=weight)
    PointwiseConvToMatMul()(model)
    assert operators(model) == ["Transpose", "MatMul", "Transpose"]
    feeds = {"x": RANDOM.standard_normal((2, 6, 5)).astype(np.float32)}
    assert difference(model, original, feeds) < 1e-5


@pytest.mark.parametrize(
    ("attributes", "shape", "reason"),
    [
        ("strides = [2]", (8, 6, 1), "stride"),
        ("pads = [1, 1]", (8, 6, 1), "pads"),
        ("group = 2", (8, 3, 1), "groups"),
    ],
)
def test_refusals_say_why(attributes: str, shape: tuple[int, ...], reason: str) -> None:
    text = f"""
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 6, t] x, float[8, k, 1] w) => (float[b, 8, u] y)
    {{ y = Conv <kernel_shape = [1], {attributes}> (x, w) }}"""
    model = parse(text, w=np.ones(shape, np.float32))
    result = PointwiseConvToMatMul()(model)
    assert not result.modified
    assert reason in result.refusals[0].reason


def test_wider_kernels_are_no_candidates() -> None:
    model = parse(
        """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 6, t] x, float[8, 6, 3] w) => (float[b, 8, u] y)
    { y = Conv (x, w) }""",
        w=np.ones((8, 6, 3), np.float32),
    )
    result = PointwiseConvToMatMul()(model)
    assert not result.modified and not result.refusals

"""Depthwise convolutions over frames, written with two spatial axes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from confpress.passes.rewrites.convolution.depthwise import DepthwiseConv2d

from tests.passes.graphs import difference, operators, parse

RANDOM = np.random.default_rng(0)
BETWEEN = """
<ir_version: 8, opset_import: ["": {opset}]>
net (float[b, t, 16] x, float[16, 1, 5] w, float[16] c) => (float[b, u, 16] y)
{{
  first = Transpose <perm = [0, 2, 1]> (x)
  q = Conv <group = 16{attributes}> (first, w, c)
  y = Transpose <perm = [0, 2, 1]> (q)
}}"""
ALONE = """
<ir_version: 8, opset_import: ["": 17]>
net (float[b, 16, t] x, float[16, 1, 5] w) => (float[b, 16, u] y)
{ q = Conv <group = 16, pads = [4, 0]> (x, w)  y = Relu (q) }"""


def filters() -> np.ndarray:
    return RANDOM.standard_normal((16, 1, 5)).astype(np.float32)


def between(attributes: str = "", opset: int = 17) -> ir.Model:
    bias = RANDOM.standard_normal(16).astype(np.float32)
    return parse(BETWEEN.format(attributes=attributes, opset=opset), w=filters(), c=bias)


def frames(batch: int, count: int) -> np.ndarray:
    return RANDOM.standard_normal((batch, count, 16)).astype(np.float32)


@pytest.mark.parametrize(
    "attributes",
    [
        "",
        ", pads = [2, 2]",
        ", pads = [4, 0], kernel_shape = [5]",
        ", strides = [2], pads = [1, 2]",
        ", dilations = [3], pads = [6, 6]",
        ', auto_pad = "SAME_UPPER"',
    ],
)
@pytest.mark.parametrize(("batch", "count"), [(1, 40), (3, 23)])
def test_numbers_stay(attributes: str, batch: int, count: int) -> None:
    model, original = between(attributes), between(attributes)
    for name, value in original.graph.initializers.items():
        value.const_value = model.graph.initializers[name].const_value
    assert DepthwiseConv2d()(model).modified
    assert operators(model).count("Transpose") == 2
    assert difference(original, model, {"x": frames(batch, count)}) < 1e-5


def test_old_operator_sets_are_raised() -> None:
    model = between(", pads = [2, 2]", opset=11)
    original = model.clone()
    assert DepthwiseConv2d()(model).modified
    assert model.opset_imports[""] >= 18
    assert difference(original, model, {"x": frames(2, 9)}) < 1e-5


def test_a_convolution_without_transposes() -> None:
    model = parse(ALONE, w=filters())
    original = model.clone()
    assert DepthwiseConv2d()(model).modified
    assert "Transpose" not in operators(model)
    x = RANDOM.standard_normal((2, 16, 30)).astype(np.float32)
    assert difference(original, model, {"x": x}) < 1e-5


def test_runtime_takes_the_blocked_layout(tmp_path: object) -> None:
    model = between(", pads = [2, 2]")
    DepthwiseConv2d()(model)
    options = ort.SessionOptions()
    options.optimized_model_filepath = f"{tmp_path}/optimised.onnx"
    ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    kinds = {(n.domain, n.op_type) for n in ir.load(f"{tmp_path}/optimised.onnx").graph}
    if ("com.microsoft.nchwc", "Conv") not in kinds:
        pytest.skip("this processor has no blocked layout in ONNX Runtime")
    assert ("", "Transpose") not in kinds


def test_other_convolutions_stay() -> None:
    model = parse(
        """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[b, 4, t] x, float[8, 2, 3] w) => (float[b, 8, u] y)
    { y = Conv <group = 2> (x, w) }""",
        w=np.ones((8, 2, 3), np.float32),
    )
    assert not DepthwiseConv2d()(model).modified

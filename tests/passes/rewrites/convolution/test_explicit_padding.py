"""``auto_pad`` becomes amounts where they follow from the kernel; outputs stay bit for bit."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.rewrites.convolution.explicit_padding import ExplicitPadding

from tests.passes.graphs import evaluate, parse

CONVOLUTION = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, 2, t] x, float[2, 1, {kernel}] filters) => (float[b, 2, u] y)
{{
  y = Conv <group = 2, auto_pad = "{rule}", dilations = [{dilation}], strides = [{stride}]>
      (x, filters)
}}"""


def build(rule: str, kernel: int, dilation: int = 1, stride: int = 1) -> ir.Model:
    filters = np.random.default_rng(0).standard_normal((2, 1, kernel)).astype(np.float32)
    text = CONVOLUTION.format(rule=rule, kernel=kernel, dilation=dilation, stride=stride)
    return parse(text, filters=filters)


@pytest.mark.parametrize("rule", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (4, 1), (32, 1)])
def test_the_same_frames(rule: str, kernel: int, dilation: int) -> None:
    original, model = build(rule, kernel, dilation), build(rule, kernel, dilation)
    assert ExplicitPadding()(model).modified
    assert "auto_pad" not in model.graph.node(0).attributes
    x = np.random.default_rng(1).standard_normal((2, 2, 9)).astype(np.float32)
    (expected,), (found,) = evaluate(original, {"x": x}), evaluate(model, {"x": x})
    np.testing.assert_array_equal(found, expected)


def test_dilated_kernels_pad_what_they_span() -> None:
    model = build("SAME_UPPER", 4, dilation=3)
    ExplicitPadding()(model)
    assert model.graph.node(0).attributes.get_ints("pads") == (4, 5)


@pytest.mark.parametrize(("rule", "stride"), [("SAME_UPPER", 2), ("VALID", 1), ("NOTSET", 1)])
def test_what_the_frames_decide_stays(rule: str, stride: int) -> None:
    model = build(rule, 3, stride=stride)
    assert not ExplicitPadding()(model).modified
    assert model.graph.node(0).attributes.get_string("auto_pad") == rule

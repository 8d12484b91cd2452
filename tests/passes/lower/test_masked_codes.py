"""Masks between integer convolutions choose among codes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from confpress.passes.lower.masked_codes import MaskCodes
from confpress.passes.quantize import Quantize, Range, values_to_calibrate
from confpress.passes.rewrite import add_initializer

from tests.passes.graphs import difference, operators, parse

# Two convolutions with a mask of frames between them, as exports of a subsampling have it.
CONVOLUTIONS = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, 1, t, 20] x, bool[b, 1, u, 1] m, float[8, 1, 3, 3] v, float[6, 8, 3, 3] w)
  => (float[b, 6, r, s] y, int64[4] sizes)
{
  first = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, v)
  positive = Relu (first)
  sizes = Shape (positive)
  factor = Cast <to = 1> (m)
  masked = Mul (positive, factor)
  second = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (masked, w)
  s = Relu (second)
  y = Identity (s)
}"""
RANDOM = np.random.default_rng(0)


def quantised(low: float = 0.0) -> ir.Model:
    model = parse(
        CONVOLUTIONS,
        v=RANDOM.standard_normal((8, 1, 3, 3)).astype(np.float32),
        w=RANDOM.standard_normal((6, 8, 3, 3)).astype(np.float32),
    )
    names = values_to_calibrate(model)
    assert names == ["x", "positive", "s"]
    ranges = {"x": Range(-4, 4), "positive": Range(low, 9), "s": Range(0, 60)}
    assert len(Quantize(ranges=ranges)(model).changes) == 2
    return model


def feeds() -> dict[str, np.ndarray]:
    mask = np.arange(8)[None] < np.array([8, 5])[:, None]
    x = RANDOM.standard_normal((2, 1, 16, 20)).astype(np.float32)
    return {"x": x, "m": mask[:, None, :, None]}


@pytest.mark.parametrize("low", [0.0, -3.0], ids=["zero point 0", "zero point above 0"])
def test_codes_are_chosen_exactly(low: float) -> None:
    model = quantised(low)
    original = model.clone()
    result = MaskCodes()(model)
    assert len(result.changes) == 1
    assert "Mul" not in operators(model)
    assert difference(original, model, feeds()) == 0


def test_runtime_keeps_integers_between_the_convolutions(tmp_path: object) -> None:
    model = quantised()
    MaskCodes()(model)
    options = ort.SessionOptions()
    options.optimized_model_filepath = f"{tmp_path}/optimised.onnx"
    ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    kinds = [n.op_type for n in ir.load(f"{tmp_path}/optimised.onnx").graph]
    assert kinds.count("QLinearConv") == 2
    assert kinds.count("DequantizeLinear") == 1


def test_scales_that_differ_keep_the_product() -> None:
    model = quantised()
    (product,) = (n for n in model.graph if n.op_type == "Mul")
    (encode,) = product.outputs[0].consumers()
    other = add_initializer(model.graph, "other", np.array(1.0, np.float32))
    encode.replace_input_with(1, other)
    assert not MaskCodes()(model).modified

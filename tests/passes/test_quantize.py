"""QDQ nodes: what they say, what they leave alone, and that they compute what they say."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from confpress.passes.format_plan import FormatPlan, LayerFormat
from confpress.passes.formats import quantize_matrix
from confpress.passes.quantize import (
    Quantize,
    Range,
    int8_codes,
    quantized_output,
    values_to_calibrate,
)
from confpress.passes.quantize_linear import Repaired
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx.reference import ReferenceEvaluator

from tests.passes.graphs import difference, evaluate, operators, parse

RANDOM = np.random.default_rng(0)
LINEAR = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 48] x, float[48, 32] w, float[32] c) => (float[b, t, 32] y)
{ p = MatMul (x, w)  y = Add (p, c) }"""
CONVOLUTIONS = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, 1, t, 20] x, float[8, 1, 3, 3] v, float[8, 8, 3, 3] w) => (float[b, 8, u, 5] y)
{
  p = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, v)
  q = Relu (p)
  r = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (q, w)
  s = Relu (r)
  y = Identity (s)
}"""


def weights() -> dict[str, np.ndarray]:
    return {
        "w": RANDOM.standard_normal((48, 32)).astype(np.float32),
        "c": RANDOM.standard_normal(32).astype(np.float32),
    }


def kernels() -> dict[str, np.ndarray]:
    return {
        "v": RANDOM.standard_normal((8, 1, 3, 3)).astype(np.float32),
        "w": RANDOM.standard_normal((8, 8, 3, 3)).astype(np.float32),
    }


def per_frame(x: np.ndarray) -> np.ndarray:
    """The definition of the dynamic activations in numpy."""
    scale = np.maximum(np.abs(x).max(axis=-1, keepdims=True), 2.0**-40).astype(np.float32) / 127
    return np.clip(np.rint(x / scale), -127, 127).astype(np.float32) * scale


def test_linear_layer_computes_int8_per_frame_and_per_channel() -> None:
    arrays = weights()
    model = parse(LINEAR, **arrays)
    result = Quantize()(model)
    assert len(result.changes) == 1
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    x = RANDOM.standard_normal((2, 5, 48)).astype(np.float32) * 10 ** RANDOM.uniform(
        -3, 3, (2, 5, 1)
    ).astype(np.float32)
    codes, scales = int8_codes(arrays["w"].T)
    expected = per_frame(x) @ (codes.T * scales) + arrays["c"]
    (actual,) = evaluate(model, {"x": x})
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()
    (reference,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    assert np.abs(actual - reference).max() <= 1e-5 * np.abs(expected).max()


def test_an_input_without_frames_stays_float() -> None:
    arrays = weights()
    model = parse(LINEAR.replace("[b, t, ", "["), **arrays)
    result = Quantize()(model)
    assert "one vector" in result.refusals[0].reason
    x = RANDOM.standard_normal(48).astype(np.float32)
    (actual,) = evaluate(model, {"x": x})
    np.testing.assert_allclose(actual, x @ arrays["w"] + arrays["c"], rtol=1e-5, atol=1e-5)


def test_a_stored_table_has_no_activations_to_quantise() -> None:
    arrays = weights()
    table = RANDOM.standard_normal((1, 60, 48)).astype(np.float32)
    model = parse(LINEAR.replace("[b, t, ", "[1, 60, "), x=table, **arrays)
    assert len(Quantize()(model).changes) == 1
    assert operators(model).count("DequantizeLinear") == 1
    assert "QuantizeLinear" not in operators(model)
    codes, scales = int8_codes(arrays["w"].T)
    (actual,) = evaluate(model, {})
    np.testing.assert_allclose(
        actual, table @ (codes.T * scales) + arrays["c"], rtol=1e-4, atol=1e-4
    )


def test_layers_of_one_input_share_its_quantisation() -> None:
    model = parse(
        """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 48] x, float[48, 32] v, float[48, 32] w) => (float[b, 32] y)
    { p = MatMul (x, v)  q = MatMul (x, w)  y = Add (p, q) }""",
        v=weights()["w"],
        w=weights()["w"],
    )
    Quantize()(model)
    assert operators(model).count("QuantizeLinear") == 1


def test_the_bias_that_a_repair_adds_reaches_the_next_layer() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, t, 48] x, float[48, 48] w, float[48, 48] v) => (float[b, t, 48] y)
    { p = MatMul (x, w)  y = MatMul (p, v) }"""
    w, v = (RANDOM.standard_normal((48, 48)).astype(np.float32) for _ in range(2))
    model = parse(text, w=w, v=v)
    for node, name in zip(model.graph, ("first", "second"), strict=True):
        node.name = name
    form = LayerFormat(weight="int8", activations="int8")
    matrix, bias = quantize_matrix(w, form.scheme), np.full(48, 100, np.float32)
    plan = FormatPlan(layers={"first": form, "second": form})
    Quantize(plan=plan, repaired={"first": Repaired(matrix, bias)})(model)
    x = RANDOM.standard_normal((2, 5, 48)).astype(np.float32)
    hidden = per_frame(x) @ matrix.dequantized() + bias
    expected = per_frame(hidden) @ quantize_matrix(v, form.scheme).dequantized()
    (actual,) = evaluate(model, {"x": x})
    assert np.abs(actual - expected).max() <= 1e-2 * np.abs(expected).max()


def test_convolutions_are_static_with_a_quantised_output() -> None:
    arrays = kernels()
    model = parse(CONVOLUTIONS, **arrays)
    assert values_to_calibrate(model) == ["x", "q", "s"]
    x = RANDOM.standard_normal((1, 1, 16, 20)).astype(np.float32)
    (expected,) = evaluate(model, {"x": x})
    top = {"q": 12.0, "s": float(expected.max())}
    ranges = {"x": Range(-4.0, 4.0), "q": Range(0, top["q"]), "s": Range(0, top["s"])}
    result = Quantize(ranges=ranges)(model)
    assert len(result.changes) == 2
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    (actual,) = evaluate(model, {"x": x})
    assert 0 < np.abs(actual - expected).max() < 0.05 * np.abs(expected).max()


def test_runtime_computes_the_convolutions_in_integers(tmp_path: object) -> None:
    model = parse(CONVOLUTIONS, **kernels())
    ranges = {name: Range(-4.0, 4.0) for name in ("x", "q", "s")}
    Quantize(ranges={**ranges, "q": Range(0, 9.0), "s": Range(0, 30.0)})(model)
    options = ort.SessionOptions()
    options.optimized_model_filepath = f"{tmp_path}/optimised.onnx"
    ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    kinds = [n.op_type for n in ir.load(f"{tmp_path}/optimised.onnx").graph]
    assert kinds.count("QLinearConv") == 2
    assert "Conv" not in kinds and "Relu" not in kinds


@pytest.mark.parametrize("size", [0.0, 1e-44, 1e-30, 1e-9])
def test_a_channel_without_weights_to_speak_of_keeps_its_bias_in_integers(size: float) -> None:
    v, bias = kernels()["v"] * np.float32(1e-3), np.full(8, 0.77, np.float32)
    v[3] = size
    model = parse(
        """
        <ir_version: 10, opset_import: ["": 21]>
        net (float[b, 1, t, 20] x, float[8, 1, 3, 3] v, float[8] c) => (float[b, 8, u, k] y)
        { p = Conv (x, v, c)  y = Identity (p) }""",
        v=v,
        c=bias,
    )
    x = RANDOM.uniform(-1000, 1000, (1, 1, 40, 20)).astype(np.float32)
    (expected,) = evaluate(model, {"x": x})
    high = float(np.abs(expected).max())
    Quantize(ranges={"x": Range(-1000, 1000), "p": Range(-high, high)})(model)
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    (actual,) = session.run(None, {"x": x})
    assert np.abs(actual - expected)[:, 3].max() <= high / 255


def test_a_convolution_at_the_end_of_the_graph_is_quantised() -> None:
    model = parse(
        """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 1, t, 20] x, float[8, 1, 3, 3] w) => (float[b, 8, u, v] y)
    { y = Conv (x, w) }""",
        w=RANDOM.standard_normal((8, 1, 3, 3)).astype(np.float32),
    )
    original = model.clone()
    ranges = {"x": Range(-4.0, 4.0), "y": Range(-20.0, 20.0)}
    assert len(Quantize(ranges=ranges)(model).changes) == 1
    x = RANDOM.standard_normal((2, 1, 9, 20)).astype(np.float32)
    assert 0 < difference(original, model, {"x": x}) < 0.2


def test_missing_ranges_are_named() -> None:
    result = Quantize(ranges={"x": Range(-1, 1)})(parse(CONVOLUTIONS, **kernels()))
    assert "no calibrated range for q" in result.refusals[0].reason


def test_excluded_layers_stay_float() -> None:
    model = parse(LINEAR, **weights())
    (product,) = (n for n in model.graph if n.op_type == "MatMul")
    product.metadata_props["confpress.layer"] = "encoder.layers.0.conv.pointwise1"
    result = Quantize(exclude=("encoder.layers.0.*",))(model)
    assert operators(model) == ["MatMul", "Add"]
    assert "encoder.layers.0.*" in result.refusals[0].reason


def test_a_pattern_that_no_layer_fits_is_told() -> None:
    result = Quantize(exclude=("encoder.layer.0.*",))(parse(LINEAR, **weights()))
    assert [(refusal.where, refusal.reason) for refusal in result.refusals] == [
        ("encoder.layer.0.*", "no layer has an id that fits this pattern")
    ]


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    arrays = weights()
    arrays["w"][3, 4] = bad
    result = Quantize()(parse(LINEAR, **arrays))
    assert not result.modified
    assert "w holds infinities or NaN" in result.refusals[0].reason


def test_depthwise_convolutions_stay_float() -> None:
    model = parse(
        """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 8, t, 20] x, float[8, 1, 3, 3] w) => (float[b, 8, u, v] y)
    { y = Conv <group = 8> (x, w) }""",
        w=np.ones((8, 1, 3, 3), np.float32),
    )
    assert values_to_calibrate(model) == []
    assert "depthwise" in Quantize()(model).refusals[0].reason


def test_output_of_a_convolution_without_relu_is_its_own() -> None:
    model = parse(
        """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 1, t, 20] x, float[8, 1, 3, 3] w) => (float[b, 8, u, v] y)
    { y = Conv (x, w) }""",
        w=np.ones((8, 1, 3, 3), np.float32),
    )
    (conv,) = model.graph
    assert quantized_output(conv) is conv.outputs[0]


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
    )
)
@settings(max_examples=60, deadline=None)
def test_codes_are_within_half_a_step(weight: np.ndarray) -> None:
    codes, scales = int8_codes(weight)
    assert codes.dtype == np.int8 and np.abs(codes.astype(int)).max(initial=0) <= 127
    error = np.abs(codes * scales[:, None].astype(np.float64) - weight)
    assert (error <= scales[:, None] * 0.5 * (1 + 1e-5)).all()
    assert not codes[np.abs(weight).max(axis=1) == 0].any()


def test_a_range_is_ordered_and_finite() -> None:
    with pytest.raises(ValueError, match="no range"):
        Range(1.0, 0.0)
    with pytest.raises(ValueError, match="no range"):
        Range(0.0, float("nan"))

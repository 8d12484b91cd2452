"""A plan of formats in the graph, and what the targets make of it."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from confpress.passes.base import InPlacePass
from confpress.passes.errors import ConfpressError
from confpress.passes.format_plan import FormatPlan, LayerFormat
from confpress.passes.formats import FORMATS, FP8, HALVES, quantize_matrix
from confpress.passes.lower.cpu import LowerCpu
from confpress.passes.lower.cuda import LowerCuda
from confpress.passes.lower.portable import LowerPortable
from confpress.passes.lower.reference import LowerReference
from confpress.passes.quantize import Quantize
from onnx.reference import ReferenceEvaluator

from tests.passes.graphs import evaluate, operators, parse

RANDOM = np.random.default_rng(0)
TEXT = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 72] x, float[72, 32] w, float[32] c) => (float[b, t, 32] y)
{ p = MatMul (x, w)  y = Add (p, c) }"""
WEIGHT = RANDOM.standard_normal((72, 32)).astype(np.float32)
BIAS = RANDOM.standard_normal(32).astype(np.float32)
X = RANDOM.standard_normal((2, 5, 72)).astype(np.float32)
CASES = [
    LayerFormat(weight=name, block=block, zero_point=point, method=method)
    for name, number in FORMATS.items()
    for block, point, method in ((0, False, "maximum"), (32, number.integer, "mse"))
]
EVERY = pytest.mark.parametrize("form", CASES, ids=[form.label for form in CASES])


def quantised(form: LayerFormat) -> ir.Model:
    model = parse(TEXT, w=WEIGHT, c=BIAS)
    (product,) = (n for n in model.graph if n.op_type == "MatMul")
    product.metadata_props["confpress.layer"] = "head"
    result = Quantize(plan=FormatPlan(layers={"head": form}))(model)
    assert any(change.where == "head" for change in result.changes)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    return model


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


@EVERY
def test_weight_only_computes_with_the_decoded_weight(form: LayerFormat) -> None:
    expected = X @ quantize_matrix(WEIGHT, form.scheme).dequantized() + BIAS
    model = quantised(form)
    (by_onnx,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": X})
    close(by_onnx, expected)
    LowerReference()(model)
    assert operators(model) == ["MatMul", "Add"]
    (by_runtime,) = evaluate(model, {"x": X})
    close(by_runtime, expected)


@EVERY
def test_portable_stores_codes_and_computes_in_float32(form: LayerFormat, tmp_path: object) -> None:
    expected = X @ quantize_matrix(WEIGHT, form.scheme).dequantized() + BIAS
    model = quantised(form)
    LowerPortable()(model)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = f"{tmp_path}/optimised.onnx"
    session = ort.InferenceSession(proto.SerializeToString(), options)
    close(session.run(None, {"x": X})[0], expected)
    # Everything that decodes was folded when the model was loaded.
    kinds = {n.op_type for n in ir.load(f"{tmp_path}/optimised.onnx").graph}
    assert kinds <= {"MatMul", "Add", "Gemm", "Reshape", "FusedMatMul"}


def per_frame_fp8(x: np.ndarray) -> np.ndarray:
    scale = np.maximum(np.abs(x).max(axis=-1, keepdims=True), 2.0**-40).astype(np.float32) / 448
    return FP8.round((x / scale).astype(np.float32)) * scale


def test_activations_of_float8_per_frame() -> None:
    form = LayerFormat(weight="fp8", activations="fp8")
    expected = per_frame_fp8(X) @ quantize_matrix(WEIGHT, form.scheme).dequantized() + BIAS
    model = quantised(form)
    LowerReference()(model)
    close(evaluate(model, {"x": X})[0], expected)
    portable = quantised(form)
    result = LowerPortable()(portable)
    assert "QuantizeLinear" not in operators(portable)
    assert "activations float32" in result.changes[0].what


@pytest.mark.parametrize("weight", ["int4", "fp4", "int2"])
def test_low_bits_with_int8_activations_reach_the_kernels(weight: str) -> None:
    form = LayerFormat(weight=weight, block=32, method="mse", activations="int8")
    model, reference = quantised(form), quantised(form)
    LowerCpu()(model)
    assert operators(model)[0].startswith("QuantLinear")
    LowerReference()(reference)
    close(evaluate(model, {"x": X})[0], evaluate(reference, {"x": X})[0])


@pytest.mark.parametrize("lowering", [LowerCpu(), LowerPortable()])
def test_int8_weights_with_zero_points_are_not_taken_for_symmetric_ones(
    lowering: LowerCpu | LowerPortable,
) -> None:
    model = quantised(LayerFormat(weight="int8", zero_point=True, activations="int8"))
    scheme = LayerFormat(weight="int8", zero_point=True).scheme
    lowering(model)
    (actual,) = evaluate(model, {"x": X})
    close(actual, X @ quantize_matrix(WEIGHT, scheme).dequantized() + BIAS)


@pytest.mark.parametrize("lowering", [LowerCpu(), LowerPortable(), LowerReference(), LowerCuda()])
def test_weights_that_decode_to_float16_stay_as_they_are(lowering: InPlacePass) -> None:
    model = parse(
        """
        <ir_version: 10, opset_import: ["": 21]>
        net (float16[b, 72] x, int8[72, 32] codes, float16[32] scales) => (float16[b, 32] y)
        { w = DequantizeLinear <axis = 1> (codes, scales)  y = MatMul (x, w) }""",
        codes=RANDOM.integers(-127, 127, (72, 32), np.int8),
        scales=RANDOM.uniform(0.01, 0.02, 32).astype(np.float16),
    )
    feeds = {"x": X[0].astype(np.float16)}
    (expected,) = evaluate(model, feeds)
    lowering(model)
    np.testing.assert_array_equal(evaluate(model, feeds)[0], expected)


@pytest.mark.parametrize("kind", ["float16", "e8m0"])
def test_narrow_scales_are_stored_and_decoded(kind: str) -> None:
    form = LayerFormat(weight="fp4", block=32, scale_type=kind)  # type: ignore[arg-type]
    expected = X @ quantize_matrix(WEIGHT, form.scheme).dequantized() + BIAS
    model = quantised(form)
    close(ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": X})[0], expected)
    LowerReference()(model)
    close(evaluate(model, {"x": X})[0], expected)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_halves_are_storage(kind: str) -> None:
    model = quantised(LayerFormat(weight=kind))
    expected = X @ WEIGHT.astype(HALVES[kind]).astype(np.float32) + BIAS
    close(ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": X})[0], expected)
    LowerPortable()(model)
    assert operators(model) == ["Cast", "MatMul", "Add"]
    close(evaluate(model, {"x": X})[0], expected)


def test_layers_of_one_weight_share_its_codes() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 72] x, float[b, 72] z, float[72, 32] w) => (float[b, 32] y)
    { p = MatMul (x, w)  q = MatMul (z, w)  y = Add (p, q) }"""
    model = parse(text, w=WEIGHT)
    for index, node in enumerate(n for n in model.graph if n.op_type == "MatMul"):
        node.name = f"layer{index}"
    form = LayerFormat(weight="int4", block=32)
    Quantize(plan=FormatPlan(layers={"layer0": form, "layer1": form}))(model)
    assert operators(model).count("DequantizeLinear") == 1


def test_a_tied_table_is_not_copied() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 72] x, int64[b] i, float[72, 32] w) => (float[b, 32] y)
    { p = MatMul (x, w)  q = Gather (w, i)  y = Add (p, q) }"""
    model = parse(text, w=WEIGHT)
    next(n for n in model.graph if n.op_type == "MatMul").name = "layer"
    form = LayerFormat(weight="int4", block=32)
    result = Quantize(plan=FormatPlan(layers={"layer": form}))(model)
    assert "read by Gather too" in result.refusals[0].reason


def test_a_plan_for_another_model_is_refused() -> None:
    plan = FormatPlan(layers={"nowhere": LayerFormat(weight="int8")})
    with pytest.raises(ConfpressError, match="names 'nowhere'"):
        Quantize(plan=plan)(parse(TEXT, w=WEIGHT, c=BIAS))

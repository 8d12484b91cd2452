"""Weights of 4 and 2 bits in the interchange model become low-bit operators on target cpu."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.lower.cpu import LowerCpu
from confpress.passes.quantize import Quantize
from confpress.passes.structure.linear import find_products

from ..graphs import evaluate, operators, parse

K, N = 80, 48
TEXT = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 80] x, float[80, 48] v, float[48] c) => (float[b, t, 48] y)
{
  p = MatMul (x, v)  h = Add (c, p)
  g = Sigmoid (h)  y = Mul (h, g)
}"""
FORMATS = {
    "int4": ml_dtypes.int4,
    "uint4": ml_dtypes.uint4,
    "fp4": ml_dtypes.float4_e2m1fn,
    "int2": ml_dtypes.int2,
}


def interchange(
    form: str, scales: np.ndarray, block: int = 0, zero_point: np.ndarray | None = None
) -> tuple[ir.Model, ir.Model]:
    """The layer with random codes, and the same with its weights as float32."""
    random = np.random.default_rng(3)
    bits = 2 if form == "int2" else 4
    codes = random.integers(0, 1 << bits, (K, N)).astype(np.uint8).view(FORMATS[form])
    if form in ("int4", "int2"):
        codes = codes.astype(np.int8).astype(FORMATS[form])
    finite = np.nan_to_num(scales, posinf=0)
    expanded = np.repeat(finite, block, axis=0)[:K] if block else finite
    point = 0 if zero_point is None else zero_point.astype(np.float32).flat[0]
    floats = (codes.astype(np.float32) - point) * expanded

    models = []
    for weight in (None, floats):
        arrays = {"v": random.standard_normal((K, N)).astype(np.float32)}
        model = parse(TEXT, **arrays, c=np.linspace(-1, 1, N, dtype=np.float32))
        Quantize()(model)
        dequantize = next(n for n in model.graph if n.op_type == "MatMul").inputs[1].producer()
        if weight is None:
            inputs = [codes, scales] if zero_point is None else [codes, scales, zero_point]
            values = [_constant(model, f"w{i}", array) for i, array in enumerate(inputs)]
            attributes = {"axis": 0, "block_size": block} if block else {"axis": 1}
            node = ir.node("DequantizeLinear", values, attributes, name="w")
        else:
            node = ir.node("Identity", [_constant(model, "w", weight)], name="w")
        model.graph.insert_before(dequantize, node)
        dequantize.outputs[0].replace_all_uses_with(node.outputs[0])
        model.graph.remove(dequantize, safe=True)
        models.append(model)
    return models[0], models[1]


def _constant(model: ir.Model, name: str, array: np.ndarray) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype)
    )
    model.graph.register_initializer(value)
    return value


def blocked(block: int) -> np.ndarray:
    shape = (-(-K // block), N)
    return np.random.default_rng(4).uniform(0.01, 0.1, shape).astype(np.float32)


def assert_lowered(lowered: ir.Model, expected: ir.Model, operator: str) -> None:
    LowerCpu()(lowered)
    assert operators(lowered) == [operator]
    x = np.random.default_rng(5).standard_normal((2, 7, K)).astype(np.float32)
    (actual,), (reference,) = evaluate(lowered, {"x": x}), evaluate(expected, {"x": x})
    assert np.abs(actual - reference).max() < 1e-6 * np.abs(reference).max()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("block", [16, 32, 48, 64, 128, 256])
def test_blocks_become_blocks_of_the_kernels(form: str, block: int) -> None:
    lowered, expected = interchange(form, blocked(block), block)
    operator = "QuantLinear2BitSiLU" if form == "int2" else "QuantLinear4BitSiLU"
    assert_lowered(lowered, expected, operator)


@pytest.mark.parametrize("form", ["int4", "fp4"])
def test_scales_per_channel(form: str) -> None:
    scales = np.random.default_rng(4).uniform(0.01, 0.1, N).astype(np.float32)
    lowered, expected = interchange(form, scales)
    assert_lowered(lowered, expected, "QuantLinear4BitSiLU")


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.float8_e8m0fnu], ids=["float16", "e8m0"])
def test_narrow_scales_are_widened(kind: type) -> None:
    narrow = np.exp2(np.random.default_rng(4).integers(-7, -3, (3, N))).astype(kind)
    lowered, expected = interchange("fp4", narrow.astype(np.float32), 32)
    node = next(n for n in lowered.graph if n.name == "w")
    cast = ir.node("Cast", [_constant(lowered, "narrow", narrow)], {"to": int(ir.DataType.FLOAT)})
    lowered.graph.insert_before(node, cast)
    node.replace_input_with(1, cast.outputs[0])
    assert_lowered(lowered, expected, "QuantLinear4BitSiLU")


def test_one_zero_point_shifts_the_values() -> None:
    point = np.full((3, N), 8, np.uint8).astype(FORMATS["uint4"])
    lowered, expected = interchange("uint4", blocked(32), 32, point)
    assert_lowered(lowered, expected, "QuantLinear4BitSiLU")


def _refusal(model: ir.Model) -> str:
    """Why a layer is refused; it is stored in codes then, which ONNX Runtime loads."""
    result = LowerCpu()(model)
    assert "DequantizeLinear" not in operators(model)
    assert [change.what for change in result.changes if "as storage" in change.what]
    evaluate(model, {"x": np.zeros((1, 2, K), np.float32)})
    (refusal,) = result.refusals
    return refusal.reason


def test_what_the_kernels_do_not_compute_is_refused_with_a_reason() -> None:
    assert "20 columns" in _refusal(interchange("int4", blocked(20), 20)[0])
    points = np.arange(3 * N).reshape(3, N).astype(np.uint8) % 16
    uneven = interchange("uint4", blocked(32), 32, points.astype(FORMATS["uint4"]))[0]
    assert "differ from block to block" in _refusal(uneven)
    infinite = blocked(32)
    infinite[1, 5] = np.inf
    assert "infinities or NaN" in _refusal(interchange("fp4", infinite, 32)[0])


def test_weights_alone_are_refused_with_a_reason() -> None:
    model = interchange("int4", blocked(32), 32)[0]
    matmul = next(n for n in model.graph if n.op_type == "MatMul")
    matmul.replace_input_with(0, model.graph.inputs[0])
    assert "activations are not quantised per frame" in _refusal(model)


def test_lowered_layers_are_recognised() -> None:
    model = interchange("fp4", blocked(32), 32)[0]
    LowerCpu()(model)
    (layer,) = find_products(model.graph).linears.values()
    assert (layer.in_features, layer.out_features) == (K, N)
    assert layer.bias is not None

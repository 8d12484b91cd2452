"""Lowering: both targets compute what the interchange model says, each in its operators."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.format_plan import FormatPlan, LayerFormat
from confpress.passes.lower.cpu import LowerCpu
from confpress.passes.lower.portable import LowerPortable
from confpress.passes.quantize import Quantize

from tests.passes.graphs import evaluate, operators, parse

RANDOM = np.random.default_rng(0)
FEED_FORWARD = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 48] x, float[48, 64] v, float[64] c, float[64, 48] w) => (float[b, t, 48] y)
{
  p = MatMul (x, v)  h = Add (c, p)
  g = Sigmoid (h)  a = Mul (h, g)
  y = MatMul (a, w)
}"""
CHAIN = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, 48] x, float[48, 64] v, float[64, 48] w) => (float[b, 48] y)
{ h = MatMul (x, v)  y = MatMul (h, w) }"""


def interchange(text: str = FEED_FORWARD) -> ir.Model:
    arrays = {
        "v": RANDOM.standard_normal((48, 64)).astype(np.float32) / 7,
        "w": RANDOM.standard_normal((64, 48)).astype(np.float32) / 8,
    }
    if text is not CHAIN:
        arrays["c"] = RANDOM.standard_normal(64).astype(np.float32)
    model = parse(text, **arrays)
    Quantize()(model)
    return model


def frames(*shape: int) -> dict[str, np.ndarray]:
    return {"x": RANDOM.standard_normal((*shape, 48)).astype(np.float32)}


def relative(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def test_cpu_is_one_operator_a_layer_with_silu_fused() -> None:
    model = interchange()
    original = model.clone()
    LowerCpu()(model)
    assert operators(model) == ["QuantLinearSiLU", "QuantLinear"]
    assert {key[1] for key in model.functions} == {"QuantLinearSiLU", "QuantLinear"}
    feeds = frames(2, 7)
    (actual,), (expected,) = evaluate(model, feeds), evaluate(original, feeds)
    # One code of a hidden unit may round the other way after a differently fused SiLU.
    assert relative(actual, expected) < 1e-3


@pytest.mark.parametrize(
    ("operator", "spelling"),
    [
        ("QuantLinearReLU", "a = Relu (h)"),
        ("QuantLinearSigmoid", "a = Sigmoid (h)"),
        ("QuantLinearGELUTanh", 'a = Gelu <approximate = "tanh"> (h)'),
        (
            "QuantLinearGELU",
            """root = Constant <value_float = 1.4142135> ()  d = Div (h, root)  e = Erf (d)
            one = Constant <value_float = 1.0> ()  s = Add (e, one)  m = Mul (h, s)
            half = Constant <value_float = 0.5> ()  a = Mul (m, half)""",
        ),
    ],
)
def test_cpu_takes_every_activation_into_the_layer(operator: str, spelling: str) -> None:
    model = interchange(FEED_FORWARD.replace("g = Sigmoid (h)  a = Mul (h, g)", spelling))
    original = model.clone()
    result = LowerCpu()(model)
    assert operators(model) == [operator, "QuantLinear"]
    assert any(change.what.endswith(f"with {operator[11:]}") for change in result.changes)
    feeds = frames(2, 7)
    assert relative(evaluate(model, feeds)[0], evaluate(original, feeds)[0]) < 1e-3


def _balanced(shape: tuple[int, int], kept: int) -> np.ndarray:
    """[K, N] with so many weights of every 64 inputs."""
    order = RANDOM.random((shape[0] // 64, 64, shape[1])).argsort(1).argsort(1)
    weight = RANDOM.standard_normal(shape).astype(np.float32)
    return np.where(order.reshape(shape) < kept, weight, np.float32(0))


def test_cpu_multiplies_sparse_weights_in_float32() -> None:
    text = FEED_FORWARD.replace("48", "128").replace(
        "g = Sigmoid (h)  a = Mul (h, g)", "a = Relu (h)"
    )
    bunched = _balanced((64, 128), 8)
    bunched[:40, 0] = 1
    bias = RANDOM.standard_normal(64).astype(np.float32)
    model = parse(text, v=_balanced((128, 64), 16), c=bias, w=bunched)
    original = model.clone()
    result = LowerCpu()(model)
    assert operators(model) == ["SparseLinearFloatReLU", "MatMul"]
    assert [change.what for change in result.changes] == ["SparseLinearFloat (16:64) with ReLU"]
    (refusal,) = result.refusals
    assert "faster up to 16" in refusal.reason
    feeds = {"x": RANDOM.standard_normal((2, 7, 128)).astype(np.float32)}
    assert relative(evaluate(model, feeds)[0], evaluate(original, feeds)[0]) < 1e-6


def test_cpu_multiplies_sparse_weights_as_they_are_stored() -> None:
    model = parse(CHAIN.replace("48", "128"), v=_balanced((128, 64), 8), w=_balanced((64, 128), 16))
    layers = [node for node in model.graph if node.op_type == "MatMul"]
    for name, node in zip(("first", "second"), layers, strict=True):
        node.name = name
    form = LayerFormat(weight="bfloat16")
    Quantize(plan=FormatPlan(layers={"first": form, "second": form}))(model)
    original = model.clone()
    result = LowerCpu()(model)
    assert operators(model) == ["SparseLinearFloat", "SparseLinearFloat"]
    assert [change.what for change in result.changes] == [
        "SparseLinearFloat (8:64 in bfloat16)",
        "SparseLinearFloat (16:64 in bfloat16)",
    ]
    assert {node.inputs[1].dtype for node in model.graph} == {ir.DataType.BFLOAT16}
    feeds = {"x": RANDOM.standard_normal((7, 128)).astype(np.float32)}
    assert relative(evaluate(model, feeds)[0], evaluate(original, feeds)[0]) < 1e-6


def test_cpu_layers_in_a_chain_read_each_other() -> None:
    model = interchange(CHAIN)
    original = model.clone()
    LowerCpu()(model)
    assert operators(model) == ["QuantLinear", "QuantLinear"]
    feeds = frames(5)
    assert relative(evaluate(model, feeds)[0], evaluate(original, feeds)[0]) < 1e-3


def test_scales_that_are_stored_narrower_are_widened() -> None:
    model = interchange(CHAIN)
    for node in [node for node in model.graph if node.name and "DequantizeLinear" in node.name]:
        scales = node.inputs[1]
        if scales is None or scales.const_value is None:
            continue
        narrow = scales.const_value.numpy().astype(np.float16)
        scales.const_value = ir.tensor(narrow, name=scales.name)
        scales.dtype = ir.DataType.FLOAT16
        cast = ir.node("Cast", [scales], {"to": int(ir.DataType.FLOAT)})
        model.graph.insert_before(node, cast)
        node.replace_input_with(1, cast.outputs[0])
    original = model.clone()
    assert operators(original).count("Cast") == 2
    LowerCpu()(model)
    assert operators(model) == ["QuantLinear", "QuantLinear"]
    feeds = frames(5)
    assert relative(evaluate(model, feeds)[0], evaluate(original, feeds)[0]) < 1e-3


def test_portable_uses_stock_operators_and_is_close() -> None:
    model = interchange()
    original = model.clone()
    LowerPortable()(model)
    assert operators(model) == ["DynamicQuantizeMatMul", "Sigmoid", "Mul", "DynamicQuantizeMatMul"]
    assert set(model.opset_imports) == {"", "com.microsoft"}
    feeds = frames(1, 9)
    assert relative(evaluate(model, feeds)[0], evaluate(original, feeds)[0]) < 0.03


def test_portable_depends_on_the_loudest_frame_and_cpu_does_not() -> None:
    quiet, loud = frames(1, 4)["x"], 50 * frames(1, 4)["x"]
    together = {"x": np.concatenate([quiet, loud], axis=1)}
    for lowering, shares in ((LowerPortable(), True), (LowerCpu(), False)):
        model = interchange()
        lowering(model)
        alone = evaluate(model, {"x": quiet})[0]
        beside = evaluate(model, together)[0][:, :4]
        assert np.array_equal(alone, beside) is not shares


@pytest.mark.parametrize("lowering", [LowerCpu(), LowerPortable()])
def test_a_lowered_model_is_refused(lowering: LowerCpu | LowerPortable) -> None:
    model = interchange()
    lowering(model)
    with pytest.raises(ConfpressError, match="lowered already"):
        LowerCpu()(model)


@pytest.mark.parametrize("lowering", [LowerCpu(), LowerPortable()])
def test_float_layers_are_left_alone(lowering: LowerCpu | LowerPortable) -> None:
    model = parse(
        """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 48] x, float[48, 64] v) => (float[b, 64] y) { y = MatMul (x, v) }""",
        v=np.ones((48, 64), np.float32),
    )
    result = lowering(model)
    assert not result.modified
    assert operators(model) == ["MatMul"]

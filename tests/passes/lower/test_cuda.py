"""Target cuda: packed weights say what the interchange model says, and float16 what float32 does.

ONNX Runtime's CPU provider runs MatMulNBits and float16, so both are held against the interchange
model's numbers; products that the CUDA provider alone has are decoded here.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.format_plan import FormatPlan, LayerFormat
from confpress.passes.lower.cuda import LowerCuda, pack_bits
from confpress.passes.lower.float16 import Float16
from confpress.passes.lower.reference import LowerReference
from confpress.passes.quantize import Quantize
from confpress.passes.rewrite import Patch
from onnx.reference import ReferenceEvaluator

from tests.passes.graphs import evaluate, operators, parse

RANDOM = np.random.default_rng(0)
TEXT = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 200] x, float[200, 32] w, float[32] c) => (float[b, t, 32] y)
{ p = MatMul (x, w)  y = Add (p, c) }"""
BIAS = RANDOM.standard_normal(32).astype(np.float32)
X = {"x": RANDOM.standard_normal((2, 5, 200)).astype(np.float32)}
FP8_PRODUCT = "MatMulBlockQuantizedFp8Weight"


def layer(weight: np.ndarray) -> ir.Model:
    model = parse(TEXT, w=weight, c=BIAS)
    for node in model.graph:
        node.metadata_props["confpress.layer"] = "encoder.linear"
    return model


def quantised(form: LayerFormat) -> ir.Model:
    model = layer(RANDOM.standard_normal((200, 32)).astype(np.float32))
    Quantize(plan=FormatPlan(layers={"encoder.linear": form}))(model)
    return model


def meant(model: ir.Model) -> np.ndarray:
    """The output with the weights that the file states and activations as they are."""
    reference = model.clone()
    LowerReference()(reference)
    (weight,) = (
        value.const_value.numpy()
        for value in reference.graph.initializers.values()
        if value.const_value is not None and value.const_value.shape.numpy() == (200, 32)
    )
    return X["x"] @ weight + BIAS


@pytest.mark.parametrize("point", [False, True])
@pytest.mark.parametrize("block", [0, 16, 32, 64, 128])
@pytest.mark.parametrize("name", ["int8", "int4"])
def test_integers_are_packed_for_matmulnbits(name: str, block: int, point: bool) -> None:
    try:
        form = LayerFormat(weight=name, block=block, zero_point=point)
    except ValueError as reason:
        pytest.skip(str(reason))
    model = quantised(form)
    expected = meant(model)
    result = LowerCuda()(model)
    assert "MatMulNBits" in operators(model)
    assert not getattr(result, "refusals", ())
    (actual,) = evaluate(model, X)
    np.testing.assert_allclose(actual, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", [np.uint8, ml_dtypes.uint4])
def test_unsigned_weights_without_zero_points_are_not_negative(kind: type[np.generic]) -> None:
    model = layer(np.zeros((200, 32), np.float32))
    product = model.graph.node(0)
    patch = Patch(product)
    codes = patch.constant(RANDOM.integers(0, 16, (200, 32)).astype(kind), "codes")
    scales = patch.constant(RANDOM.uniform(1, 2, 32).astype(np.float32), "scales")
    product.replace_input_with(1, patch.op("DequantizeLinear", codes, scales, axis=1))
    expected = meant(model)
    LowerCuda()(model)
    assert "MatMulNBits" in operators(model)
    (actual,) = evaluate(model, X)
    np.testing.assert_allclose(actual, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("block", [0, 32])
def test_float8_weights_are_read_as_they_are(block: int) -> None:
    model = quantised(LayerFormat(weight="fp8", block=block))
    expected = meant(model)
    LowerCuda()(model)
    (node,) = (node for node in model.graph if node.op_type == FP8_PRODUCT)
    codes, scales = (node.inputs[i].const_value.numpy() for i in (1, 2))
    size = node.attributes["block_size"].as_int()
    weight = codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    weight = weight * np.repeat(scales, size, axis=1)[:, : weight.shape[1]]
    np.testing.assert_allclose(X["x"] @ weight.T + BIAS, expected, atol=1e-4)


def test_products_of_float16_need_no_casts_between() -> None:
    model = quantised(LayerFormat(weight="fp8"))
    LowerCuda()(model)
    Float16()(model)
    assert operators(model) == ["Cast", FP8_PRODUCT, "Add", "Cast"]


def test_formats_without_an_operator_are_stored_and_say_why() -> None:
    model = quantised(LayerFormat(weight="fp4", block=32))
    expected = meant(model)
    result = LowerCuda()(model)
    (refusal,) = result.refusals
    assert "no weights of type FLOAT4E2M1" in refusal.reason
    (actual,) = evaluate(model, X)
    np.testing.assert_allclose(actual, expected, atol=2e-5 * np.abs(expected).max())


def test_sparse_layers_are_made_where_they_are_asked_for() -> None:
    weight = RANDOM.standard_normal((200, 32)).astype(np.float32)
    weight[np.arange(200) % 64 >= 6] = 0
    model, dense = layer(weight), layer(weight)
    LowerCuda()(dense)
    assert "MatMul" in operators(dense)
    LowerCuda(sparse=True)(model)
    assert "SparseLinearHalf" in operators(model)
    (actual,), (expected,) = evaluate(model, X), evaluate(dense, X)
    np.testing.assert_allclose(actual, expected, atol=5e-3 * np.abs(expected).max())


def test_sparse_weights_beyond_float16_stay_float32() -> None:
    weight = np.zeros((200, 32), np.float32)
    weight[3] = 1e5
    model = layer(weight)
    (expected,) = evaluate(model, X)
    result = LowerCuda(sparse=True)(model)
    assert "largest number" in result.refusals[0].reason
    np.testing.assert_array_equal(evaluate(model, X)[0], expected)


def test_two_of_four_inputs_are_sparse_too() -> None:
    weight = RANDOM.standard_normal((200, 32)).astype(np.float32)
    weight[np.arange(200) % 4 >= 2] = 0
    model = layer(weight)
    (expected,) = evaluate(model, X)
    (change,) = LowerCuda(sparse=True)(model).changes
    assert "2:4, for GPUs with sparse tensor cores" in change.what
    (actual,) = evaluate(model, X)
    np.testing.assert_allclose(actual, expected, atol=5e-3 * np.abs(expected).max())


def test_zeros_in_no_pattern_of_the_gpu_are_refused() -> None:
    weight = RANDOM.standard_normal((200, 32)).astype(np.float32)
    weight[np.arange(200) % 16 >= 7] = 0
    (refusal,) = LowerCuda(sparse=True)(layer(weight)).refusals
    assert "more than two in some four, which sparse tensor cores do not take" in refusal.reason


def test_float16_is_near_float32_and_keeps_the_types_outside() -> None:
    model = layer(RANDOM.standard_normal((200, 32)).astype(np.float32))
    (expected,) = evaluate(model, X)
    Float16()(model)
    assert model.graph.inputs[0].dtype == model.graph.outputs[0].dtype == ir.DataType.FLOAT
    assert operators(model) == ["Cast", "MatMul", "Add", "Cast"]
    assert model.graph.outputs[0].name == "y"
    (actual,) = evaluate(model, X)
    assert np.abs(actual - expected).max() < 5e-3 * np.abs(expected).max()


def test_constants_beyond_float16_stay_float32_and_say_so() -> None:
    weight = RANDOM.standard_normal((200, 32)).astype(np.float32)
    weight[0, 0] = 1e6
    model = layer(weight)
    result = Float16()(model)
    assert "largest number" in result.refusals[0].reason
    (node,) = (node for node in model.graph if node.op_type == "MatMul")
    assert node.inputs[1].const_value.dtype == ir.DataType.FLOAT


def test_a_number_below_float16_does_not_become_zero() -> None:
    model = parse(
        """
        <ir_version: 10, opset_import: ["": 21]>
        net (float[b, t, 200] x, float floor) => (float[b, t, 200] y)
        { r = Relu (x)  a = Add (r, floor)  y = Log (a) }""",
        floor=np.array(1e-10, np.float32),
    )
    (expected,) = evaluate(model, X)
    result = Float16()(model)
    assert "vanishes" in result.refusals[0].reason
    np.testing.assert_allclose(evaluate(model, X)[0], expected, atol=1e-2)


def test_lengths_and_positions_are_counted_in_float32() -> None:
    model = parse(
        """
        <ir_version: 10, opset_import: ["": 21]>
        net (int64[b] lengths, float two, float[1, 4] slow) => (int64[b] frames, float[b, 4] table)
        {
          n = Cast <to = 1> (lengths)  h = Div (n, two)  f = Floor (h)  frames = Cast <to = 7> (f)
          axis = Constant <value_ints = [1]> ()  p = Unsqueeze (n, axis)  a = Mul (p, slow)
          table = Sin (a)
        }""",
        two=np.array(2, np.float32),
        slow=np.array([[1, 0.1, 0.01, 0.001]], np.float32),
    )
    feeds = {"lengths": np.array([2050, 7003, 70001])}
    # ONNX Runtime's CPU provider takes such casts away.
    expected = ReferenceEvaluator(ir.to_proto(model)).run(None, feeds)
    Float16()(model)
    actual = ReferenceEvaluator(ir.to_proto(model)).run(None, feeds)
    np.testing.assert_array_equal(actual[0], expected[0])
    np.testing.assert_array_equal(actual[1], expected[1])


def test_a_norm_that_gives_its_deviation_stays_float32() -> None:
    model = parse(
        """
        <ir_version: 10, opset_import: ["": 21]>
        net (float[b, t, 200] x, float[200] g) => (float[b, t, 200] y)
        { n, mean, inverse = LayerNormalization (x, g)  y = Mul (n, inverse) }""",
        g=np.ones(200, np.float32),
    )
    (expected,) = evaluate(model, X)
    Float16()(model)
    np.testing.assert_allclose(evaluate(model, X)[0], expected, atol=1e-2)


def test_layers_are_kept_float32_by_name() -> None:
    model = layer(RANDOM.standard_normal((200, 32)).astype(np.float32))
    (expected,) = evaluate(model, X)
    result = Float16(keep=("encoder",))(model)
    assert not result.modified
    (actual,) = evaluate(model, X)
    np.testing.assert_array_equal(actual, expected)


MASKED = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, 8] x, bool[b, 8] mask, float low) => (float[b, 8] y, float[b, 8] log)
{
  m = Where (mask, low, x)  s = Softmax (m)  t = Transpose <perm = [1, 0]> (s)
  y = Transpose <perm = [1, 0]> (t)  log = Log (y)
}"""


def test_masks_work_and_logarithms_stay_float32() -> None:
    model = parse(MASKED, low=np.float32(-1e30))
    feeds = {"x": X["x"][0, :, :8], "mask": np.arange(40).reshape(5, 8) % 3 == 0}
    expected = evaluate(model, feeds)
    Float16()(model)
    actual = evaluate(model, feeds)
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-3)
    (log,) = (node for node in model.graph if node.op_type == "Log")
    assert log.inputs[0].dtype == ir.DataType.FLOAT


def test_what_comes_from_float16_is_moved_in_it() -> None:
    model = parse(
        '<ir_version: 10, opset_import: ["": 21]> net (float16[b, 8] x) => (float[b, b] y)'
        " { z = Cast <to = 1> (x)  t = Transpose (z)  y = MatMul (z, t) }"
    )
    feeds = {"x": X["x"][0, :, :8].astype(np.float16)}
    (expected,) = evaluate(model, feeds)
    Float16()(model)
    assert operators(model) == ["Transpose", "MatMul", "Cast"]
    (actual,) = evaluate(model, feeds)
    np.testing.assert_allclose(actual, expected, rtol=2e-3)


def test_bits_are_packed_from_the_lowest() -> None:
    codes = np.array([[1, 2, 15]], np.int32)
    assert pack_bits(codes, 4).tolist() == [[0x21, 0x0F]]


def test_activations_that_were_quantised_are_not() -> None:
    model = quantised(LayerFormat(weight="int8", activations="int8"))
    expected = meant(model)
    result = LowerCuda()(model)
    assert operators(model) == ["MatMulNBits", "Add"]
    assert "activations are not quantised" in result.changes[0].what
    (actual,) = evaluate(model, X)
    np.testing.assert_allclose(actual, expected, atol=2e-5 * np.abs(expected).max())


def test_a_clone_in_float16_leaves_the_model_as_it_was() -> None:
    model = parse(TEXT, w=RANDOM.standard_normal((200, 32)).astype(np.float32), c=BIAS)
    common.ShapeInferencePass()(model)
    right = evaluate(model, X)[0]
    Float16()(model.clone())
    np.testing.assert_array_equal(evaluate(model, X)[0], right)
    assert {value.dtype for node in model.graph for value in node.outputs} == {ir.DataType.FLOAT}

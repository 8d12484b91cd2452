from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.operators.activated import ACTIVATIONS, activation_of
from confpress.passes.operators.functions import define_operator
from confpress.passes.operators.quantlinear import (
    DOMAIN,
    pack_int8,
    packed_shape,
    quant_linear_function,
    quant_linear_node,
    unpack_int8,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ..quant_layers import QuantLayer, activated, run, session, silu

# ONNX Runtime's sigmoid and erf are this far from the exact ones, times these magnitudes (< 60).
BODY_TOLERANCE = 5e-6
MATRICES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70)


@given(hnp.arrays(np.int8, MATRICES))
def test_unpack_inverts_pack(weight: np.ndarray) -> None:
    packed = pack_int8(weight)
    assert packed.shape == packed_shape(*weight.shape)
    assert packed.flags.c_contiguous
    np.testing.assert_array_equal(unpack_int8(packed, weight.shape), weight)
    assert np.abs(packed.astype(int)).sum() == np.abs(weight.astype(int)).sum()


@given(st.integers(0, 36), st.integers(0, 22))
def test_layout_is_strips_of_rows_and_groups_of_columns(row: int, column: int) -> None:
    weight = np.zeros((37, 23), np.int8)
    weight[row, column] = 5
    packed = pack_int8(weight)
    assert packed[row // 16, column // 4, row % 16, column % 4] == 5


@pytest.mark.parametrize(
    "weight",
    [np.zeros((3, 4), np.float32), np.zeros(4, np.int8), np.zeros((0, 4), np.int8)],
    ids=["float", "vector", "empty"],
)
def test_pack_says_what_it_packs(weight: np.ndarray) -> None:
    with pytest.raises(ConfpressError, match="non-empty int8 matrix"):
        pack_int8(weight)


def test_unpack_refuses_another_layout() -> None:
    with pytest.raises(ConfpressError, match=r"\[17, 5\] is int8 \[2, 2, 16, 4\]"):
        unpack_int8(np.zeros((1, 2, 16, 4), np.int8), (17, 5))


@pytest.mark.parametrize("opset", [15, 17, 18, 21, 23])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_body_is_the_definition(opset: int, activation: str) -> None:
    layer = QuantLayer.random(33, 63)
    model = layer.model(activation, opset=opset)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(1).standard_normal((9, 63)).astype(np.float32)
    y = run(session(model), x)
    if activation:
        expected = activated(activation, layer.linear(x))
        np.testing.assert_allclose(y, expected, rtol=0, atol=BODY_TOLERANCE)
    else:
        np.testing.assert_array_equal(y, layer.linear(x))


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 1, 3, 5), (0, 5), (2, 0, 5)])
def test_body_takes_any_leading_dimensions(shape: tuple[int, ...]) -> None:
    layer = QuantLayer.random(7, 5)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    y = run(session(layer.model(rank=len(shape))), x)
    expected = layer.linear(x.reshape(-1, 5)) if x.size else np.zeros((0, 7))
    np.testing.assert_array_equal(y, expected.reshape(*shape[:-1], 7))


def test_weights_are_unpacked_once_at_load(tmp_path) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    model = QuantLayer.random(33, 63).model()
    ort.InferenceSession(model.SerializeToString(), options)
    nodes = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert "MatMul" in nodes
    assert not nodes & {"Transpose", "Slice", "Cast"}


def test_operator_is_named_by_its_activation() -> None:
    for activation in ACTIVATIONS:
        domain, op_type, overload = quant_linear_function(activation).identifier()
        assert (domain, overload) == (DOMAIN, "")
        assert activation_of("QuantLinear")[op_type] == activation


def test_define_adds_the_function_once_and_the_versions_it_needs() -> None:
    model = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 18}), ir_version=7)
    define_operator(model, quant_linear_function, "silu")
    first = model.functions[(DOMAIN, "QuantLinearSiLU", "")]
    define_operator(model, quant_linear_function, "silu")
    define_operator(model, quant_linear_function, "")
    assert model.functions[(DOMAIN, "QuantLinearSiLU", "")] is first
    assert len(model.functions) == 2
    assert model.opset_imports[DOMAIN] == 1
    assert model.ir_version == 8
    assert first.opset_imports == {"": 18}


def test_variants_in_one_model_keep_their_bodies() -> None:
    first, second = QuantLayer.random(24, 16), QuantLayer.random(16, 24)
    both = onnx.compose.merge_models(
        first.model("silu"),
        onnx.compose.add_prefix(second.model(), "second_"),
        io_map=[("y", "second_x")],
    )
    x = np.random.default_rng(1).standard_normal((9, 16)).astype(np.float32)
    (y,) = session(both).run(None, {"x": x})
    hidden = silu(first.linear(x)).astype(np.float32)
    scale = np.abs(second.linear(hidden)).max()
    np.testing.assert_allclose(y, second.linear(hidden), rtol=0, atol=0.01 * scale)
    assert np.abs(y - silu(second.linear(hidden))).max() > 0.1 * scale


def test_unknown_activation_and_old_opset_are_errors() -> None:
    with pytest.raises(ConfpressError, match='"sigmoid", not "tanh"'):
        quant_linear_function("tanh")
    with pytest.raises(ConfpressError, match="opset 15 or newer, not 13"):
        quant_linear_function(opset=13)


def test_node_knows_its_output() -> None:
    x = ir.val("x", ir.DataType.FLOAT, ["batch", "time", 5])
    others = [ir.val(name) for name in ("weight", "scales", "bias")]
    node = quant_linear_node(x, *others, shape=(7, 5), activation="silu", name="layer")
    assert node.op_type == "QuantLinearSiLU"
    assert node.outputs[0].dtype == ir.DataType.FLOAT
    assert [str(size) for size in node.outputs[0].shape] == ["batch", "time", "7"]

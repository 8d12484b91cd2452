"""Matrices in number formats: scales, zero points, blocks, and what DequantizeLinear says."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.formats import (
    BLOCK_SIZES,
    FORMATS,
    FP4,
    INT2,
    INT4,
    INT8,
    SCALE_DTYPES,
    UINT4,
    UINT8,
    Scheme,
    quantize_matrix,
    weight_error,
)
from confpress.passes.formats.scale_types import stored
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx.reference import ReferenceEvaluator

WEIGHT = np.random.default_rng(0).standard_normal((50, 12)).astype(np.float32)
MATRICES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 70), st.integers(1, 4)),
    elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
)


@pytest.mark.parametrize("number", FORMATS.values(), ids=list(FORMATS))
@given(weight=MATRICES, block=st.sampled_from(BLOCK_SIZES))
@settings(max_examples=25, deadline=None)
def test_errors_stay_below_half_a_step(number: object, weight: np.ndarray, block: int) -> None:
    scheme = Scheme(number, "block", block)  # type: ignore[arg-type]
    found = quantize_matrix(weight, scheme)
    groups = -(-len(weight) // block)
    assert found.codes.shape == weight.shape and found.scales.shape == (groups, weight.shape[1])
    scales = np.repeat(found.scales, block, axis=0)[: len(weight)].astype(np.float64)
    error = np.abs(found.dequantized() - weight.astype(np.float64)) / scales
    values = np.unique(number.decode(number.codes()).astype(np.float64))  # type: ignore[attr-defined]
    values = values[np.isfinite(values)]
    # Half of the widest gap between two values that a symmetric scale uses.
    used = values[np.abs(values - scheme.number.centre) <= number.top]  # type: ignore[attr-defined]
    assert (error <= np.diff(used).max() / 2 * (1 + 1e-4)).all()


@given(weight=MATRICES, number=st.sampled_from([INT8, UINT8, INT4, UINT4, INT2]))
@settings(max_examples=40, deadline=None)
def test_zero_stays_zero_with_a_zero_point(weight: np.ndarray, number: object) -> None:
    weight[::3] = 0
    scheme = Scheme(number, "channel", zero_point=True, method="mse")  # type: ignore[arg-type]
    found = quantize_matrix(weight, scheme)
    assert not found.dequantized()[weight == 0].any()


@given(weight=MATRICES, name=st.sampled_from(sorted(FORMATS)))
@settings(max_examples=40, deadline=None)
def test_searched_scales_never_err_more_than_the_maximum(weight: np.ndarray, name: str) -> None:
    error = {}
    for method in ("maximum", "clip", "mse"):
        scheme = Scheme(FORMATS[name], "block", 16, method=method)  # type: ignore[arg-type]
        error[method] = weight_error(weight, quantize_matrix(weight, scheme).dequantized())
    assert error["clip"] <= error["maximum"] * (1 + 1e-4) + 1e-12
    assert error["mse"] <= error["clip"] * (1 + 1e-4) + 1e-12


def test_searched_scales_gain_where_there_are_outliers() -> None:
    weight = WEIGHT.copy()
    weight[0] *= 8
    error = [
        weight_error(weight, quantize_matrix(weight, Scheme(INT4, method=each)).dequantized())
        for each in ("maximum", "clip", "mse")
    ]
    assert error[1] < 0.95 * error[0] and error[2] < error[1]


def test_importance_moves_the_scale_to_what_counts() -> None:
    weight = WEIGHT.copy()
    weight[0] *= 8
    unlike = np.r_[0.0, np.ones(49)]
    scheme = Scheme(INT4, method="mse")
    blind, seeing = (quantize_matrix(weight, scheme, each) for each in (None, unlike))
    assert weight_error(weight, seeing.dequantized(), unlike) < 0.5 * weight_error(
        weight, blind.dequantized(), unlike
    )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("granularity", ["tensor", "channel", "block"])
@pytest.mark.parametrize("zero_point", [False, True])
def test_dequantize_linear_says_the_same(name: str, granularity: str, zero_point: bool) -> None:
    number = FORMATS[name]
    if zero_point and not number.integer:
        return
    block = 32 if granularity == "block" else 0
    scheme = Scheme(number, granularity, block, zero_point)  # type: ignore[arg-type]
    found = quantize_matrix(WEIGHT + np.float32(zero_point), scheme)
    shape = {"tensor": (), "channel": (12,), "block": (2, 12)}[granularity]
    arrays = [found.codes, found.scales.reshape(shape)]
    arrays += [] if found.points is None else [found.points.reshape(shape)]
    values = [
        ir.Value(name=f"v{i}", const_value=ir.tensor(array, name=f"v{i}"))
        for i, array in enumerate(arrays)
    ]
    attributes = {"axis": 0, "block_size": block} if block else {"axis": 1}
    node = ir.node("DequantizeLinear", values, attributes)
    node.outputs[0].name, node.outputs[0].dtype = "y", ir.DataType.FLOAT
    node.outputs[0].shape = ir.Shape(WEIGHT.shape)
    graph = ir.Graph(
        [], node.outputs, nodes=[node], initializers=values, opset_imports={"": 25}, name="g"
    )
    proto = ir.to_proto(ir.Model(graph, ir_version=13))
    onnx.checker.check_model(proto)
    (expected,) = ReferenceEvaluator(proto).run(None, {})
    np.testing.assert_array_equal(found.dequantized(), expected)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("method", ["maximum", "mse"])
def test_blocks_of_zeros_stay_zeros(name: str, method: str) -> None:
    weight = WEIGHT.copy()
    weight[16:32] = 0
    found = quantize_matrix(weight, Scheme(FORMATS[name], "block", 16, method=method))  # type: ignore[arg-type]
    assert not found.dequantized()[16:32].any()
    assert (found.scales[1] == 1).all()


@given(
    weight=MATRICES,
    zeros=st.lists(st.booleans(), min_size=5, max_size=5),
    name=st.sampled_from(sorted(FORMATS)),
    kind=st.sampled_from(sorted(SCALE_DTYPES)),
)
@settings(max_examples=60, deadline=None)
def test_zeros_of_any_blocks_stay_zeros(
    weight: np.ndarray, zeros: list[bool], name: str, kind: str
) -> None:
    for number, zero in enumerate(zeros):
        weight[16 * number : 16 * (number + 1)] *= not zero
    scheme = Scheme(FORMATS[name], "block", 16, method="mse", scale_type=kind)  # type: ignore[arg-type]
    found = quantize_matrix(weight, scheme)
    assert not found.dequantized()[weight == 0].any()
    assert np.isfinite(found.scales).all() and (found.scales > 0).all()


@given(
    weight=MATRICES,
    place=st.integers(0, 2**16),
    bad=st.sampled_from([np.inf, -np.inf, np.nan]),
    name=st.sampled_from(sorted(FORMATS)),
)
@settings(max_examples=40, deadline=None)
def test_weights_that_are_not_finite_are_refused_by_name(
    weight: np.ndarray, place: int, bad: float, name: str
) -> None:
    weight.reshape(-1)[place % weight.size] = bad
    with pytest.raises(ConfpressError, match=r"encoder\.w holds infinities or NaN"):
        quantize_matrix(weight, Scheme(FORMATS[name]), name="encoder.w")


@given(st.floats(2.0**-120, 2.0**120, width=32), st.sampled_from(sorted(SCALE_DTYPES)))
def test_scales_are_what_their_type_can_store(scale: float, kind: str) -> None:
    (kept,) = stored(np.array([scale], np.float32), kind)  # type: ignore[arg-type]
    assert 0 < kept < np.inf
    assert np.array([kept]).astype(SCALE_DTYPES[kind]).astype(np.float32) == [kept]  # type: ignore[index]
    if kind == "e8m0":
        assert scale <= kept < 2 * scale


@pytest.mark.parametrize("kind", ["float16", "e8m0"])
def test_narrow_scales_cost_little(kind: str) -> None:
    errors = [
        weight_error(
            WEIGHT,
            quantize_matrix(
                WEIGHT,
                Scheme(FP4, "block", 16, method="mse", scale_type=each),  # type: ignore[arg-type]
            ).dequantized(),
        )
        for each in ("float32", kind)
    ]
    assert errors[1] < {"float16": 1.01, "e8m0": 1.8}[kind] * errors[0]


def test_bytes_are_what_is_stored() -> None:
    for number, block in itertools.product((INT8, INT4, UINT4, INT2), (0, 16)):
        scheme = Scheme(number, "block" if block else "channel", block, scale_type="float16")
        found = quantize_matrix(WEIGHT, scheme)
        arrays = [found.codes, found.scales.astype(np.float16)]
        arrays += [] if found.points is None else [found.points]
        assert found.stored_bytes == sum(ir.tensor(each).nbytes for each in arrays)


def test_schemes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfpressError, match="no zero points"):
        Scheme(FP4, zero_point=True)
    with pytest.raises(ConfpressError, match="a block of 20 rows"):
        Scheme(INT4, "block", 20)
    with pytest.raises(ConfpressError, match="a matrix is needed"):
        quantize_matrix(np.ones(3, np.float32), Scheme(INT4))

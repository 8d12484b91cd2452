"""The kernels of DepthwiseConv2d and QuantConv2d against their bodies, on every instruction set."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest

from ...passes.conv2d_cases import CODED, Array, Conv2dCase, assert_close, decoded, encoded
from ...passes.quant_layers import session
from .conv2d_checks import check_empty, check_threads, check_utterances, run
from .malformed import Change, attribute, weight

# Tails of registers, strips, groups and tiles; windows that are wider than the input.
QUANT = (
    Conv2dCase(1, 1, 1, 1, 1),
    Conv2dCase(1, 21, 10, 176, 176),
    Conv2dCase(2, 7, 5, 6, 20, activation="silu"),
    Conv2dCase(3, 9, 8, 33, 17, strides=(1, 1), activation=""),
    Conv2dCase(2, 11, 6, 16, 70, kernel=(1, 1), strides=(1, 1), pads=(0, 0, 0, 0)),
    Conv2dCase(1, 10, 7, 5, 16, kernel=(2, 5), strides=(1, 3), pads=(1, 4, 0, 2), activation=""),
    Conv2dCase(1, 6, 4, 4, 8, kernel=(3, 3), strides=(2, 1), pads=(2, 1, 0, 1)),
    Conv2dCase(2, 7, 5, 6, 20, activation="silu", largest=64),
    Conv2dCase(3, 9, 8, 33, 50, strides=(1, 1), activation="", largest=64),
)
DEPTHWISE = (
    Conv2dCase(1, 1, 1, 1, 1),
    Conv2dCase(2, 23, 80, 1, 176),
    Conv2dCase(1, 12, 10, 256, 256, activation=""),
    Conv2dCase(2, 9, 7, 37, 37, activation="silu"),
    Conv2dCase(1, 8, 9, 1, 21, kernel=(2, 5), strides=(1, 3), pads=(1, 4, 0, 2), activation="silu"),
    Conv2dCase(3, 5, 6, 5, 5, strides=(1, 1), pads=(0, 0, 0, 0)),
)


def _codes(case: Conv2dCase, x: Array, *options: object) -> dict[str, Array]:
    return _coded(case.depthwise_model(to_uint8=True), {"x": x}, *options)


def _coded(model: onnx.ModelProto, feeds: dict[str, Array], *options: object) -> dict[str, Array]:
    outputs = session(model, *options).run(None, feeds)  # type: ignore[arg-type]
    return dict(zip(CODED, map(np.asarray, outputs), strict=True))


@pytest.mark.parametrize("case", QUANT)
@pytest.mark.parametrize("signed", [False, True])
def test_quant_is_its_body_and_definition(library: str, case: Conv2dCase, signed: bool) -> None:
    model, feeds = case.quant_model(), case.codes(signed=signed)
    y = run(model, feeds, library)
    assert_close(y, case.quant_expected(feeds))
    assert_close(run(model, feeds), case.quant_expected(feeds))


@pytest.mark.parametrize("case", DEPTHWISE)
def test_depthwise_is_its_body_and_definition(library: str, case: Conv2dCase) -> None:
    model, x = case.depthwise_model(), case.x()
    expected = case.convolved(x, **_renamed(case))
    assert_close(run(model, {"x": x}, library), expected)
    assert_close(run(model, {"x": x}), expected)


@pytest.mark.parametrize("case", DEPTHWISE)
def test_depthwise_codes_are_its_body(library: str, case: Conv2dCase) -> None:
    # A float32 sum in another order may fall on the other side of the middle of two codes.
    rows, body = _codes(case, case.x(), library), _codes(case, case.x())
    assert np.abs(rows["codes"].astype(int) - body["codes"]).max(initial=0) <= 1
    assert np.abs(rows["zeros"].astype(int) - body["zeros"]).max(initial=0) <= 1
    np.testing.assert_allclose(rows["scales"], body["scales"], rtol=1e-5)


@pytest.mark.parametrize("case", [case for case in DEPTHWISE if case.inputs == case.outputs])
@pytest.mark.parametrize("signed", [False, True])
def test_depthwise_of_codes_is_its_body_and_definition(
    library: str, case: Conv2dCase, signed: bool
) -> None:
    model, feeds = case.depthwise_model(of_uint8=True), case.codes(signed=signed)
    expected = case.convolved(decoded(feeds), **_renamed(case))
    y = run(model, feeds, library)
    assert_close(y, expected)
    assert_close(run(model, feeds), expected)
    model = case.depthwise_model(of_uint8=True, to_uint8=True)
    for name, array in _coded(model, feeds, library).items():
        np.testing.assert_array_equal(array, encoded(y)[name])


def test_codes_are_exactly_those_of_what_was_convolved(library: str) -> None:
    for case in DEPTHWISE:
        y = run(case.depthwise_model(), {"x": case.x()}, library)
        for name, array in _codes(case, case.x(), library).items():
            np.testing.assert_array_equal(array, encoded(y)[name])


def test_rows_use_all_codes_and_never_negative_ones_have_zero_0(library: str) -> None:
    rows = _codes(DEPTHWISE[1], DEPTHWISE[1].x(), library)
    assert (rows["zeros"] == 0).all()
    assert (rows["codes"].max(axis=(2, 3)) == 255).all()
    signed = _codes(DEPTHWISE[2], DEPTHWISE[2].x(), library)
    assert (signed["codes"].min(axis=(2, 3)) == 0).all()
    y = run(DEPTHWISE[2].depthwise_model(), {"x": DEPTHWISE[2].x()}, library)
    # Both roundings, of a code and of the zero point, are at most half a step.
    assert (np.abs(decoded(signed) - y) <= signed["scales"][..., None, None] * 1.001).all()


def test_rows_of_zeros(library: str) -> None:
    case = dataclasses.replace(DEPTHWISE[2], activation="relu")
    rows = _codes(case, np.full_like(case.x(), -1) * 0, library)
    weights = case.depthwise_weights()
    np.testing.assert_allclose(
        decoded(rows)[0, 3, 4], np.maximum(weights["bias"], 0), atol=weights["bias"].max() / 255
    )


def test_not_a_number_reaches_the_rows_that_read_it(library: str) -> None:
    case = Conv2dCase(1, 12, 6, 1, 16)
    x = case.x()
    x[0, 5, 2] = np.inf
    rows = _codes(case, x, library)
    assert np.isnan(rows["scales"][0, [2, 3]]).all()
    assert np.isfinite(rows["scales"]).sum() == rows["scales"].size - 2
    second = Conv2dCase(1, 6, 3, 16, 20, activation="")
    y = run(second.quant_model(), rows, library)
    assert np.isnan(y[0, [1, 2]]).all()
    assert np.isfinite(y[0, 0]).all()


def test_rows_of_scale_zero_count_as_zeros(library: str) -> None:
    case = QUANT[1]
    feeds = case.codes()
    feeds["scales"][:, 4:9] = 0
    feeds["codes"][:, 4:9] = 7
    assert_close(run(case.quant_model(), feeds, library), case.quant_expected(feeds))


@pytest.mark.parametrize("code", [0, 255])
@pytest.mark.parametrize("zero", [0, 255])
def test_extreme_codes_do_not_saturate(library: str, code: int, zero: int) -> None:
    case = dataclasses.replace(QUANT[1], activation="")
    model, feeds = case.quant_model(), case.codes()
    feeds["codes"][:], feeds["zeros"][:] = code, zero
    for value in (127, -127, -128, 65, 64, -64, -65):
        weight("W", np.full((176, 176, 3, 3), value, np.int8))(model)
        y = run(model, feeds, library)
        assert_close(y, run(model, feeds))
        assert np.isfinite(y).all()


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_do_not_change_a_bit(library: str, threads: int) -> None:
    check_threads(Conv2dCase(2, 90, 20, 24, 100, activation="silu"), library, threads)
    depthwise = Conv2dCase(2, 40, 20, 24, 24).depthwise_model(of_uint8=True)
    feeds = Conv2dCase(2, 40, 20, 24, 24).codes()
    alone = run(depthwise, feeds, library)
    np.testing.assert_array_equal(run(depthwise, feeds, library, threads), alone)
    first = Conv2dCase(2, 90, 20, 1, 40)
    rows = _codes(first, first.x(), library)
    for name, array in _codes(first, first.x(), library, threads).items():
        np.testing.assert_array_equal(array, rows[name])


def test_utterances_are_alike_in_every_batch(library: str) -> None:
    check_utterances(Conv2dCase(3, 31, 9, 12, 36), library)


@pytest.mark.parametrize("sizes", [(0, 8, 4), (2, 0, 4)])
def test_empty_inputs(library: str, sizes: tuple[int, int, int]) -> None:
    y = check_empty(Conv2dCase(*sizes, 4, 16), library)
    first = Conv2dCase(*sizes, 1, 16)
    rows = _codes(first, first.x(), library)
    assert rows["codes"].shape == y.shape
    assert rows["scales"].shape == y.shape[:2]


def _renamed(case: Conv2dCase) -> dict[str, Array]:
    weights = case.depthwise_weights()
    return {"weight": weights["W"], "bias": weights["bias"]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (attribute("strides", [2]), "attribute strides is"),
        (attribute("strides", [0, 1]), "attribute strides is"),
        (attribute("strides", [2**62, 1]), "attribute strides is"),
        (attribute("pads", [1, 1, 1]), "attribute pads is"),
        (attribute("pads", [1, -1, 1, 1]), "attribute pads is"),
        (attribute("pads", [3, 1, 1, 1]), "attribute pads is"),
        (weight("W", np.zeros((16, 4, 3), np.int8)), "input W has the shape"),
        (weight("W", np.zeros((16, 4, 65, 1), np.int8)), "input W has the shape"),
        (weight("W", np.zeros((16, 30000, 3, 3), np.int8)), "more than 65536 products"),
        (weight("W_scales", np.zeros((16, 2), np.float32)), "input W_scales has the shape"),
        (weight("bias", np.zeros((15,), np.float32)), "input bias has the shape"),
    ],
)
def test_malformed_nodes_are_sentences(library: str, change: Change, sentence: str) -> None:
    model = Conv2dCase(1, 8, 5, 4, 16).quant_model()
    change(model)
    with pytest.raises(Exception, match=sentence):
        session(model, library)


def test_inputs_that_do_not_fit_are_sentences(library: str) -> None:
    case = Conv2dCase(1, 8, 5, 4, 16)
    feeds = case.codes()
    with pytest.raises(Exception, match=r"input codes has the shape \[1, 8, 5, 3\]"):
        run(case.quant_model(), feeds | {"codes": feeds["codes"][..., :3]}, library)
    with pytest.raises(Exception, match=r"input scales has the shape \[1, 7\]"):
        run(case.quant_model(), feeds | {"scales": feeds["scales"][:, :7]}, library)
    depthwise = Conv2dCase(1, 8, 5, 6, 6)
    feeds, model = depthwise.codes(), depthwise.depthwise_model(of_uint8=True)
    with pytest.raises(Exception, match=r"input codes has the shape \[1, 8, 5, 1\]"):
        run(model, feeds | {"codes": feeds["codes"][..., :1]}, library)
    with pytest.raises(Exception, match=r"input scales has the shape \[1, 7\]"):
        run(model, feeds | {"scales": feeds["scales"][:, :7]}, library)
    with pytest.raises(Exception, match="input X has the shape"):
        run(depthwise.depthwise_model(), {"x": depthwise.x()[..., :4]}, library)

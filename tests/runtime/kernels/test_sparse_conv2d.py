"""The kernels of SparseConv2d against their body and the definition, on every instruction set."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from confpress.passes.operators.sparselinear import KEPT, SPANS, Pattern
from confpress.runtime.kernels import library_path

from ...passes.conv2d_cases import SparseConv2dCase, assert_close
from ...passes.quant_layers import session
from .conv2d_checks import check_empty, check_threads, check_utterances, run
from .malformed import Change, as_input, attribute, weight

PATTERNS = [Pattern(kept, span) for kept in KEPT for span in SPANS if kept * span >= 64]
# Tails of strips, windows, blocks and tiles; windows that are wider than the input.
CASES = (
    SparseConv2dCase(1, 1, 1, 1, 1),
    SparseConv2dCase(1, 21, 10, 176, 50),
    SparseConv2dCase(2, 7, 5, 6, 20, activation="silu"),
    SparseConv2dCase(3, 9, 8, 33, 17, strides=(1, 1), activation=""),
    SparseConv2dCase(2, 11, 6, 16, 70, kernel=(1, 1), strides=(1, 1), pads=(0, 0, 0, 0)),
    SparseConv2dCase(1, 10, 7, 5, 16, kernel=(2, 5), strides=(1, 3), pads=(1, 4, 0, 2)),
    SparseConv2dCase(1, 6, 4, 4, 8, strides=(2, 1), pads=(2, 1, 0, 1), activation=""),
    SparseConv2dCase(3, 9, 8, 33, 50, strides=(1, 1), activation="", largest=64),
)


@pytest.fixture
def library(linear_library: str) -> str:
    return linear_library


@pytest.mark.parametrize(
    ("case", "pattern"),
    [
        *((case, Pattern(16, 16)) for case in CASES),
        *((CASES[3], pattern) for pattern in PATTERNS),
    ],
    ids=str,
)
def test_kernel_is_its_body_and_definition(
    library: str, case: SparseConv2dCase, pattern: Pattern
) -> None:
    case = dataclasses.replace(case, pattern=pattern)
    model, feeds = case.quant_model(), case.codes()
    assert_close(run(model, feeds, library), case.quant_expected(feeds))
    assert_close(run(model, feeds), case.quant_expected(feeds))


@pytest.mark.parametrize("pattern", [Pattern(16, 16), Pattern(8, 16), Pattern(8, 64)], ids=str)
def test_every_number_of_places(library: str, pattern: Pattern) -> None:
    case = SparseConv2dCase(1, 1, 13, 20, 40, strides=(1, 1), pattern=pattern)
    one, feeds = session(case.quant_model(), library), case.codes(signed=False)
    for columns in range(1, 14):
        part = feeds | {"codes": feeds["codes"][:, :, :columns]}
        (y,) = one.run(["y"], part)
        assert_close(np.asarray(y), case.quant_expected(part))


@pytest.mark.parametrize("code", [0, 255])
@pytest.mark.parametrize("zero", [0, 255])
def test_extreme_codes_do_not_saturate(library: str, code: int, zero: int) -> None:
    case = dataclasses.replace(CASES[1], activation="")
    model, feeds = case.quant_model(), case.codes()
    feeds["codes"][:], feeds["zeros"][:] = code, zero
    packed = onnx.numpy_helper.to_array(model.graph.initializer[0])
    for value in (127, -127, -128, 65, 64, -64, -65):
        weight("W", np.where(packed != 0, value, 0).astype(np.int8))(model)
        y = run(model, feeds, library)
        assert_close(y, run(model, feeds))
        assert np.isfinite(y).all()


def test_rows_of_scale_zero_count_as_zeros_and_of_nan_make_nan(library: str) -> None:
    case = dataclasses.replace(CASES[1], activation="")
    feeds = case.codes()
    feeds["scales"][:, 4:9] = 0
    feeds["codes"][:, 4:9] = 7
    feeds["scales"][:, 15] = np.nan
    y = run(case.quant_model(), feeds, library)
    expected = case.quant_expected(feeds)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    assert_close(y[:, :7], expected[:, :7])


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_do_not_change_a_bit(library: str, threads: int) -> None:
    check_threads(SparseConv2dCase(2, 90, 20, 24, 100, activation="silu"), library, threads)


def test_utterances_are_alike_in_every_batch(library: str) -> None:
    check_utterances(SparseConv2dCase(3, 31, 9, 12, 36), library)


@pytest.mark.parametrize("sizes", [(0, 8, 4), (2, 0, 4)])
def test_empty_inputs(library: str, sizes: tuple[int, int, int]) -> None:
    check_empty(SparseConv2dCase(*sizes, 4, 16), library)


_PACKED = (3, 2, 1, 4, 16, 4)
MALFORMED: dict[str, tuple[Change, str]] = {
    "strides": (attribute("strides", [0, 1]), "attribute strides is"),
    "pads": (attribute("pads", [3, 1, 1, 1]), "attribute pads is"),
    "shape": (attribute("shape", [17, 9, 3]), "attribute shape has the shape"),
    "negative": (attribute("shape", [17, -9, 3, 3]), "attribute shape has the shape"),
    "taps": (attribute("shape", [17, 9, 3, 65]), "attribute shape has the shape"),
    "wide": (attribute("shape", [17, 30000, 3, 3]), "more than 65536 products"),
    "channels": (attribute("shape", [17, 50, 3, 3]), "W has the shape"),
    "rank": (weight("W", np.zeros((3, 2, 64, 4), np.int8)), "six dimensions"),
    "slots": (weight("W", np.zeros((3, 2, 1, 3, 16, 4), np.int8)), "fourth 1, 2, 4 or 8"),
    "strips": (weight("W", np.zeros((3, 1, 1, 4, 16, 4), np.int8)), r"\[3, 2, 1, 4, 16, 4\]"),
    "columns": (weight("columns", np.zeros((3, 2, 1, 2, 16, 4), np.uint8)), "columns has the"),
    "far column": (weight("columns", np.full(_PACKED, 64, np.uint8)), "64 is not below 64"),
    "twice": (weight("columns", np.zeros(_PACKED, np.uint8)), "column 0 is named twice"),
    "beyond": (weight("W", np.ones(_PACKED, np.int8)), "weight beyond the last column"),
    "scales": (weight("W_scales", np.zeros((17, 2), np.float32)), "W_scales has the shape"),
    "bias": (weight("bias", np.zeros(16, np.float32)), "input bias has the shape"),
    "input W": (as_input("W"), "Input W must be an initializer"),
    "input columns": (as_input("columns"), "Input columns must be an initializer"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_nodes_are_sentences(name: str) -> None:
    change, sentence = MALFORMED[name]
    model = SparseConv2dCase(1, 8, 5, 9, 17).quant_model()
    change(model)
    with pytest.raises(Exception, match=sentence):
        session(model, str(library_path()))


def test_inputs_that_do_not_fit_are_sentences(library: str) -> None:
    case = SparseConv2dCase(1, 8, 5, 4, 16)
    feeds = case.codes()
    with pytest.raises(Exception, match=r"input codes has the shape \[1, 8, 5, 3\]"):
        run(case.quant_model(), feeds | {"codes": feeds["codes"][..., :3]}, library)
    with pytest.raises(Exception, match=r"input zeros has the shape \[1, 7\]"):
        run(case.quant_model(), feeds | {"zeros": feeds["zeros"][:, :7]}, library)

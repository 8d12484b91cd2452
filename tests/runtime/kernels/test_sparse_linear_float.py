"""The kernels of SparseLinearFloat against float64 and their function body."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from confpress.passes.operators.activated import ACTIVATIONS
from confpress.passes.operators.sparselinear_float import pack_sparse_float

from ...passes.quant_layers import Floats, activated, run, session
from ...passes.sparse_float_layers import SparseFloatLayer
from .malformed import Change, as_input, attribute, weight

# Tails of blocks, registers, tasks and tiles: N, K, frames, kept.
SHAPES = (
    (1, 1, 1, 1),
    (17, 63, 7, 5),
    (16, 4, 16, 4),
    (201, 176, 13, 16),
    (176, 176, 177, 16),
    (67, 65, 33, 64),
    (48, 1040, 5, 8),
)
#: Error as a share of the largest output.
TOLERANCE = 1e-6


def _gaussian(frames: int, k: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).standard_normal((frames, k)).astype(np.float32)


def _error(y: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(y - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(("n", "k", "frames", "kept"), SHAPES)
def test_kernel_is_exact_and_like_its_body(
    library: str, n: int, k: int, frames: int, kept: int
) -> None:
    layer = SparseFloatLayer.random(n, k, kept)
    model = layer.model()
    x = _gaussian(frames, k)
    y = run(session(model, library), x)
    assert _error(y, layer.linear(x)) < TOLERANCE
    assert _error(y, run(session(model), x)) < TOLERANCE


@pytest.mark.parametrize(("n", "k", "frames", "kept"), SHAPES)
def test_weights_in_bfloat16_are_widened(
    library: str, n: int, k: int, frames: int, kept: int
) -> None:
    narrow = SparseFloatLayer.random(n, k, kept).stored(ml_dtypes.bfloat16)
    model = narrow.model("silu")
    x = _gaussian(frames, k)
    y = run(session(model, library), x)
    wide = narrow.stored(np.float32).model("silu")
    np.testing.assert_array_equal(y, run(session(wide, library), x))
    assert _error(y, run(session(model), x)) < TOLERANCE


@pytest.mark.parametrize("activation", ACTIVATIONS[1:])
def test_kernel_with_activation(library: str, activation: str) -> None:
    layer = SparseFloatLayer.random(97, 176, 16)
    x = _gaussian(31, 176)
    y = run(session(layer.model(activation), library), x)
    assert _error(y, activated(activation, layer.linear(x))) < TOLERANCE


def test_frames_do_not_touch_each_other(library: str) -> None:
    one = session(SparseFloatLayer.random(100, 70, 16).model("silu"), library)
    x = _gaussian(150, 70)
    together = run(one, x)
    for count in (1, 7, 16, 17, 33, 64, 100):
        np.testing.assert_array_equal(run(one, x[:count]), together[:count])
    x[5] = np.nan
    others = np.arange(150) != 5
    np.testing.assert_array_equal(run(one, x)[others], together[others])


def test_threads_do_not_change_a_bit(library: str) -> None:
    model = SparseFloatLayer.random(300, 200, 16).model("gelu")
    x = _gaussian(177, 200)
    alone = run(session(model, library, threads=1), x)
    np.testing.assert_array_equal(run(session(model, library, threads=3), x), alone)


@pytest.mark.parametrize("shape", [(5,), (2, 1, 3, 5), (0, 5), (2, 0, 5)])
def test_leading_dimensions_are_free(library: str, shape: tuple[int, ...]) -> None:
    model = SparseFloatLayer.random(7, 5, 3).model(rank=len(shape))
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    y = run(session(model, library), x)
    assert y.shape == (*shape[:-1], 7)
    np.testing.assert_allclose(y, run(session(model), x), rtol=0, atol=2e-6)


def _spoiled(
    part: str, at: tuple[int, ...], value: int, dtype: npt.DTypeLike = np.float32
) -> Change:
    packed, columns = pack_sparse_float(SparseFloatLayer.random(17, 70, 4).stored(dtype).weight)
    array = {"weight": packed, "columns": columns}[part]
    array[at] = value
    return weight(part, array)


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


MALFORMED: dict[str, tuple[Change, str]] = {
    "rank": (weight("weight", _zeros(2, 68)), "three dimensions"),
    "no weights": (weight("weight", _zeros(2, 17, 0)), "the last 1 to 64"),
    "many weights": (weight("weight", _zeros(2, 17, 65)), "the last 1 to 64"),
    "blocks": (weight("weight", _zeros(1, 17, 4)), r"asks for \[2, 17, 4\]"),
    "type": (weight("weight", np.zeros((2, 17, 4), np.int8)), "W has the wrong element type"),
    "float16": (weight("weight", np.zeros((2, 17, 4), np.float16)), "wrong element type"),
    "bfloat16 of a shape": (
        weight("weight", np.zeros((1, 17, 4), ml_dtypes.bfloat16)),
        r"asks for \[2, 17, 4\]",
    ),
    "columns": (weight("columns", np.zeros((2, 17, 3), np.uint8)), "columns has the shape"),
    "far column": (_spoiled("columns", (1, 16, 3), 64), "column 64 is not below 64"),
    "twice": (weight("columns", np.zeros((2, 17, 4), np.uint8)), "column 0 is named twice"),
    "beyond": (_spoiled("columns", (1, 0, 3), 40), "weight beyond the last column"),
    "bias": (weight("bias", _zeros(17, 1)), r"bias has the shape \[17, 1\]"),
    "input W": (as_input("weight"), "Input W must be an initializer"),
    "negative": (attribute("shape", [17, -5]), r"attribute shape is \[17, -5\]"),
    "huge": (attribute("shape", [2**62, 2**62]), "attribute shape is"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_layers_are_errors_with_a_sentence(library: str, case: str) -> None:
    change, sentence = MALFORMED[case]
    model = SparseFloatLayer.random(17, 70, 4).model()
    change(model)
    with pytest.raises(Exception, match=sentence):
        session(model, library)

"""The kernels of SparseLinearUneven against their definition, function body and hostile tensors."""

from __future__ import annotations

import numpy as np
import pytest
from confpress.passes.operators.sparselinear import BLOCK, WINDOW, Pattern
from confpress.passes.operators.sparselinear_uneven import pack_uneven

from ...passes.quant_layers import activated, run, session
from ...passes.sparse_layers import SparseLayer, UnevenLayer
from .malformed import Change, as_input, weight

# Tails of strips, windows, blocks, registers and tiles: N, K, frames.
SHAPES = ((1, 1, 1), (17, 63, 7), (1025, 176, 13), (65, 65, 33), (48, 1040, 5))


@pytest.fixture
def library(linear_library: str) -> str:
    return linear_library


def _gaussian(frames: int, k: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((frames, k)).astype(np.float32)


@pytest.mark.parametrize(("n", "k", "frames"), SHAPES)
@pytest.mark.parametrize(("span", "slots"), [(WINDOW, 4), (BLOCK, 3), (BLOCK, 16)])
def test_kernel_equals_its_body(
    library: str, n: int, k: int, frames: int, span: int, slots: int
) -> None:
    layer = UnevenLayer.random(n, k, span, slots)
    model = layer.model()
    x = _gaussian(frames, k)
    y = run(session(model, library), x)
    np.testing.assert_array_equal(y, run(session(model), x))
    np.testing.assert_array_equal(y, layer.linear(x))
    layer.codes[:] = np.clip(layer.codes, -64, 64)
    np.testing.assert_array_equal(run(session(layer.model(), library), x), layer.linear(x))


@pytest.mark.parametrize("span", [WINDOW, BLOCK])
def test_even_weights_come_to_what_the_even_operator_computes(library: str, span: int) -> None:
    even = SparseLayer.balanced(97, 320, Pattern(16, span))
    uneven = UnevenLayer(even.codes, even.scales, even.bias, span)
    x = _gaussian(31, 320)
    y = run(session(uneven.model("silu"), library), x)
    np.testing.assert_array_equal(y, run(session(even.model("silu"), library), x))
    z = even.linear(x)
    assert (np.abs(y - activated("silu", z)) <= 1e-6 * np.maximum(np.abs(z), 0.5)).all()


def test_first_blocks_may_be_empty(library: str) -> None:
    layer = UnevenLayer.random(20, 300, WINDOW, 4)
    layer.codes[:, :150] = 0
    x = _gaussian(9, 300)
    np.testing.assert_array_equal(run(session(layer.model(), library), x), layer.linear(x))
    layer.codes[:] = 0
    np.testing.assert_array_equal(run(session(layer.model(), library), x), layer.linear(x))


def test_threads_do_not_change_a_bit(library: str) -> None:
    model = UnevenLayer.random(300, 200, WINDOW, 3).model("gelu")
    x = _gaussian(177, 200)
    alone = run(session(model, library, threads=1), x)
    np.testing.assert_array_equal(run(session(model, library, threads=3), x), alone)


def _layer() -> UnevenLayer:
    """[17, 140] with two slots in each of three blocks."""
    codes = np.zeros((17, 140), np.int8)
    codes[:, 0:8], codes[:, 64:72], codes[:, 128:136] = 1, 2, 3
    return UnevenLayer(codes, np.ones(17, np.float32), np.zeros(17, np.float32), BLOCK)


def _spoiled(part: str, at: int, value: int) -> Change:
    array = pack_uneven(_layer().codes, BLOCK)._asdict()[part]
    array.reshape(-1)[at] = value
    return weight(part, array)


_PACKED = (2, 6, 16, 4)
MALFORMED: dict[str, tuple[Change, str]] = {
    "rank": (weight("packed", np.zeros((2, 3, 2, 16, 4), np.int8)), "four dimensions"),
    "scalar": (weight("packed", np.zeros((), np.int8)), "four dimensions"),
    "no slots": (weight("packed", np.zeros((2, 0, 16, 4), np.int8)), "the second 1 to 48"),
    "slots": (weight("packed", np.zeros((2, 49, 16, 4), np.int8)), "the second 1 to 48"),
    "strips": (weight("packed", np.zeros((1, 6, 16, 4), np.int8)), r"\[2, 6, 16, 4\]"),
    "type": (weight("packed", np.zeros(_PACKED, np.uint8)), "type|Type"),
    "columns": (weight("columns", np.zeros((2, 5, 16, 4), np.uint8)), "columns has the shape"),
    "far column": (_spoiled("columns", 6 * 64 - 1, 64), "column 64 is not below 64"),
    "twice": (weight("columns", np.zeros(_PACKED, np.uint8)), "column 0 is named twice"),
    "twice in two slots": (_spoiled("columns", 64, 0), "column 0 is named twice"),
    "beyond": (_spoiled("columns", 4 * 64, 12), "weight beyond the last column"),
    "few blocks": (weight("blocks", np.zeros(5, np.int32)), r"blocks has the shape \[5\]"),
    "matrix": (weight("blocks", np.zeros((6, 1), np.int32)), r"blocks has the shape \[6, 1\]"),
    "int64": (weight("blocks", np.zeros(6, np.int64)), "type|Type"),
    "negative": (_spoiled("blocks", 0, -1), "must ascend from 0 to 2 at most"),
    "high": (_spoiled("blocks", 5, 3), "must ascend from 0 to 2 at most"),
    "falling": (_spoiled("blocks", 0, 1), "must ascend from 0 to 2 at most"),
    "one block": (weight("blocks", np.zeros(6, np.int32)), "named twice"),
    "scales": (weight("scales", np.ones(18, np.float32)), r"scales has the shape \[18\]"),
    "bias": (weight("bias", np.ones((17, 1), np.float32)), r"bias has the shape \[17, 1\]"),
    "input blocks": (as_input("blocks"), "Input blocks must be an initializer"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_layers_are_errors_with_a_sentence(library: str, case: str) -> None:
    change, sentence = MALFORMED[case]
    model = _layer().model()
    change(model)
    with pytest.raises(Exception, match=sentence):
        session(model, library)

"""The kernels of QuantLinear4Bit and QuantLinear2Bit against float64 and their function body."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from confpress.passes.operators.activated import ACTIVATIONS
from confpress.passes.operators.quantlinear_lowbit import (
    BLOCKS,
    FP4,
    INT2,
    INT4,
    UINT4,
    LowBitFormat,
)

from ...passes.lowbit_layers import LowBitLayer
from ...passes.quant_layers import Floats, activated, run, session
from .malformed import Change, as_input, attribute, weight

# Tails of strips, groups, chunks of 512 columns, registers and tiles: N, K, frames.
SHAPES = (
    (1, 1, 1),
    (17, 63, 7),
    (1025, 176, 13),
    (176, 176, 177),
    (65, 65, 33),
    (33, 512, 97),
    (48, 1040, 5),
    (40, 2056, 11),
)
FORMATS = (INT4, UINT4, FP4, INT2)
#: Error as a share of the largest output.
TOLERANCE = 1e-6


def _gaussian(frames: int, k: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).standard_normal((frames, k)).astype(np.float32)


def _error(y: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(y - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(("n", "k", "frames"), SHAPES)
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_kernel_is_exact_and_like_its_body(
    library: str, form: LowBitFormat, n: int, k: int, frames: int
) -> None:
    layer = LowBitLayer.random(n, k, 32, form)
    model = layer.model()
    x = _gaussian(frames, k)
    y = run(session(model, library), x)
    expected = layer.linear(x)
    assert _error(y, expected) < TOLERANCE
    assert _error(y, run(session(model), x)) < TOLERANCE


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("n", "k"), [(17, 8), (33, 300), (20, 1300)])
@pytest.mark.parametrize("form", [FP4, INT2], ids=lambda form: form.name)
def test_every_block(library: str, form: LowBitFormat, n: int, k: int, block: int) -> None:
    layer = LowBitLayer.random(n, k, block, form)
    x = _gaussian(9, k)
    assert _error(run(session(layer.model(), library), x), layer.linear(x)) < TOLERANCE


@pytest.mark.parametrize("form", [INT4, INT2], ids=lambda form: form.name)
@pytest.mark.parametrize("activation", ACTIVATIONS[1:])
def test_kernel_with_activation(library: str, form: LowBitFormat, activation: str) -> None:
    layer = LowBitLayer.random(97, 176, 32, form)
    x = _gaussian(31, 176)
    y = run(session(layer.model(activation), library), x)
    assert _error(y, activated(activation, layer.linear(x))) < TOLERANCE


@pytest.mark.parametrize("k", [1, 8, 63, 64, 2048])
@pytest.mark.parametrize("values", [(0, 32, 31, 1), (-32, 0, -1, -31), (95, 127, 126, 96)])
def test_extreme_products_do_not_saturate(
    library: str, k: int, values: tuple[int, int, int, int]
) -> None:
    form = LowBitFormat("extreme", values)
    for code in range(2):
        layer = LowBitLayer(
            np.full((17, k), code, np.uint8),
            np.ones((17, -(-k // 128)), np.float32),
            np.zeros(17, np.float32),
            128,
            form,
        )
        x = np.stack([np.full(k, 1.0), np.full(k, -1.0), np.where(np.arange(k) % 2, 1.0, -1.0)])
        y = run(session(layer.model(), library), x.astype(np.float32))
        expected = layer.linear(x.astype(np.float32))
        np.testing.assert_allclose(y, expected, rtol=TOLERANCE, atol=0)


def test_frames_do_not_touch_each_other(library: str) -> None:
    layer = LowBitLayer.random(40, 63, 32, FP4)
    x = _gaussian(12, 63)
    x[1] = 0
    x[2, 5] = np.nan
    x[3, 62] = np.inf
    x[5] *= 1e-30
    x[6] *= 1e30
    y = run(session(layer.model(), library), x)
    assert np.isnan(y[2:4]).all()
    np.testing.assert_array_equal(y[1], layer.bias)
    for frame in (0, 1, *range(4, 12)):
        expected = layer.linear(x[frame : frame + 1])
        assert _error(y[frame : frame + 1], expected) < TOLERANCE


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 1, 3, 5), (0, 5), (2, 0, 5)])
def test_leading_dimensions_are_free(library: str, shape: tuple[int, ...]) -> None:
    model = LowBitLayer.random(7, 5, 16, INT4).model(rank=len(shape))
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    y = run(session(model, library), x)
    assert y.shape == (*shape[:-1], 7)
    np.testing.assert_allclose(y, run(session(model), x), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("n", "k", "frames"), [(176, 176, 177), (512, 600, 64), (1025, 63, 29)])
def test_threads_do_not_change_a_bit(library: str, n: int, k: int, frames: int) -> None:
    model = LowBitLayer.random(n, k, 32, FP4).model("silu")
    x = _gaussian(frames, k)
    alone = run(session(model, library, threads=1), x)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(run(session(model, library, threads=threads), x), alone)


def test_frames_are_alike_in_every_batch(library: str) -> None:
    one = session(LowBitLayer.random(100, 70, 64, INT4).model("silu"), library)
    x = _gaussian(131, 70)
    together = run(one, x)
    for count in (1, 2, 5, 6, 7, 25, 60, 97):
        np.testing.assert_array_equal(run(one, x[:count]), together[:count])


def test_eight_threads_run_one_session(library: str) -> None:
    one = session(LowBitLayer.random(128, 96, 32, FP4).model("silu"), library, threads=2)
    inputs = [_gaussian(20 + 7 * i, 96, seed=i) for i in range(8)]
    expected = [run(one, x) for x in inputs]

    def work(i: int) -> bool:
        return all(np.array_equal(run(one, inputs[i]), expected[i]) for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


_U8 = np.uint8
MALFORMED: dict[str, tuple[Change, str]] = {
    "rank": (weight("weight", np.zeros((2, 1, 64), _U8)), r"W has the shape \[2, 1, 64\]"),
    "strips": (weight("weight", np.zeros((1, 1, 16, 4), _U8)), r"asks for \[2, 1, 16, 4\]"),
    "groups": (weight("weight", np.zeros((2, 2, 16, 4), _U8)), r"asks for \[2, 1, 16, 4\]"),
    "empty": (weight("weight", np.zeros((2, 0, 16, 4), _U8)), r"asks for \[2, 1, 16, 4\]"),
    "type": (weight("weight", np.zeros((2, 1, 16, 4), np.int8)), "type|Type"),
    "scales": (weight("scales", np.ones((2, 16), np.float32)), r"scales has the shape \[2, 16\]"),
    "blocks": (weight("scales", np.ones((2, 2, 16), np.float32)), r"asks for \[2, 1, 16\]"),
    "bias": (weight("bias", np.ones((17, 1), np.float32)), r"bias has the shape \[17, 1\]"),
    "input W": (as_input("weight"), "Input W must be an initializer"),
    "input scales": (as_input("scales"), "Input scales must be an initializer"),
    "input bias": (as_input("bias"), "Input bias must be an initializer"),
    "no rows": (attribute("shape", [0, 5]), r"attribute shape is \[0, 5\]"),
    "negative": (attribute("shape", [17, -5]), r"attribute shape is \[17, -5\]"),
    "huge": (attribute("shape", [2**62, 2**62]), "attribute shape is"),
    "least": (attribute("shape", [-(2**63), -(2**63)]), "attribute shape is"),
    "wide": (attribute("shape", [17, 2**20]), "K from 1 to 131072"),
    "tall": (attribute("shape", [2**31 - 1, 131072]), "asks for"),
    "no block": (attribute("block", [0]), r"attribute block is \[0\]"),
    "odd block": (attribute("block", [24]), r"attribute block is \[24\]"),
    "huge block": (attribute("block", [2**62]), "attribute block is"),
    "two blocks": (attribute("block", [32, 32]), r"attribute block is \[32, 32\]"),
    "few values": (attribute("values", [1, 2, 3, 4]), "must be 16 integers"),
    "large values": (attribute("values", [2**62, *range(15)]), "within 127 of 0"),
    "far values": (attribute("values", [-(2**63), 2**63 - 1, *range(14)]), "within 127 of 0"),
    "wide values": (attribute("values", [-20, 20, *range(14)]), "and 32 of each other"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_layers_are_errors_with_a_sentence(library: str, case: str) -> None:
    change, sentence = MALFORMED[case]
    model = LowBitLayer.random(17, 5, 32, INT4).model()
    change(model)
    with pytest.raises(Exception, match=sentence):
        session(model, library)


def test_any_bytes_are_codes(library: str) -> None:
    layer = LowBitLayer.random(17, 5, 32, INT2)
    model = layer.model()
    weight("weight", np.full((2, 1, 16, 4), 255, _U8))(model)
    y = run(session(model, library), _gaussian(3, 5))
    layer.codes[:] = 3
    assert _error(y, layer.linear(_gaussian(3, 5))) < TOLERANCE


def test_input_of_another_width_is_an_error(library: str) -> None:
    model = LowBitLayer.random(17, 5, 32, INT4).model()
    model.graph.input[0].type.tensor_type.shape.dim[1].Clear()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"
    one = session(model, library)
    for shape in [(3, 4), (3, 6), (3, 0)]:
        with pytest.raises(Exception, match=r"last dimension must be 5"):
            run(one, np.zeros(shape, np.float32))

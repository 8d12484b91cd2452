"""The kernels of SparseLinear against float64 and their function body."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from confpress.passes.operators.activated import ACTIVATIONS
from confpress.passes.operators.sparselinear import KEPT, SPANS, Pattern, pack_sparse

from ...passes.quant_layers import Floats, activated, run, session
from ...passes.sparse_layers import SparseLayer
from .malformed import Change, as_input, attribute, weight

# Tails of strips, windows, blocks, registers and tiles: N, K, frames.
SHAPES = (
    (1, 1, 1),
    (17, 63, 7),
    (16, 4, 6),
    (1025, 176, 13),
    (176, 176, 177),
    (65, 65, 33),
    (48, 1040, 5),
)
PATTERNS = [Pattern(kept, span) for kept in KEPT for span in SPANS if kept * span >= 64]
# ONNX Runtime's sigmoid and erf are this far from the exact ones, times these magnitudes (< 60).
BODY_TOLERANCE = 5e-6


@pytest.fixture
def library(linear_library: str) -> str:
    return linear_library


def _gaussian(frames: int, k: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).standard_normal((frames, k)).astype(np.float32)


@pytest.mark.parametrize(("n", "k", "frames"), SHAPES)
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_kernel_equals_its_body(
    library: str, n: int, k: int, frames: int, pattern: Pattern
) -> None:
    layer = SparseLayer.balanced(n, k, pattern)
    model = layer.model()
    x = _gaussian(frames, k)
    y = run(session(model, library), x)
    np.testing.assert_array_equal(y, run(session(model), x))
    np.testing.assert_array_equal(y, layer.linear(x))


@pytest.mark.parametrize("frames", range(1, 18))
@pytest.mark.parametrize("pattern", [Pattern(16, 16), Pattern(8, 16), Pattern(8, 64)], ids=str)
def test_every_number_of_frames(library: str, frames: int, pattern: Pattern) -> None:
    layer = SparseLayer.balanced(50, 200, pattern)
    x = _gaussian(frames, 200)
    np.testing.assert_array_equal(run(session(layer.model(), library), x), layer.linear(x))


@pytest.mark.parametrize("activation", ACTIVATIONS[1:])
@pytest.mark.parametrize("pattern", [Pattern(16, 16), Pattern(8, 64)], ids=str)
def test_kernel_with_activation(library: str, pattern: Pattern, activation: str) -> None:
    layer = SparseLayer.balanced(97, 176, pattern)
    model = layer.model(activation)
    x = _gaussian(31, 176)
    y = run(session(model, library), x)
    np.testing.assert_allclose(y, run(session(model), x), rtol=0, atol=BODY_TOLERANCE)
    z = layer.linear(x)
    assert (np.abs(y - activated(activation, z)) <= 1e-6 * np.maximum(np.abs(z), 0.5)).all()


@pytest.mark.parametrize("frames", [1, 7, 33])
@pytest.mark.parametrize("pattern", [Pattern(16, 16), Pattern(8, 16), Pattern(8, 64)], ids=str)
def test_weights_of_seven_bits(library: str, frames: int, pattern: Pattern) -> None:
    layer = SparseLayer.balanced(50, 200, pattern)
    layer.codes[:] = np.clip(layer.codes, -64, 64)
    x = _gaussian(frames, 200)
    np.testing.assert_array_equal(run(session(layer.model(), library), x), layer.linear(x))


@pytest.mark.parametrize("code", [127, 64])
def test_values_next_to_ties_are_truly_divided(library: str, code: int) -> None:
    layer = SparseLayer.balanced(64, 64, Pattern(16, 64))
    layer.codes[layer.codes != 0] = code
    generator = np.random.default_rng(3)
    x = generator.integers(-126, 126, (100, 64)) + 0.5
    x[:, 5] = 127
    x = (x * generator.uniform(1e-3, 1, (100, 1))).astype(np.float32)
    np.testing.assert_array_equal(run(session(layer.model(), library), x), layer.linear(x))


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("code", [127, -127, -128, 65, 64, -64, -65])
def test_extreme_codes_do_not_saturate(library: str, pattern: Pattern, code: int) -> None:
    layer = SparseLayer.balanced(33, 2048, pattern)
    layer.codes[layer.codes != 0] = code
    layer.scales[:] = 1
    layer.bias[:] = 0
    k = layer.codes.shape[1]
    x = np.stack([np.full(k, 1.0), np.full(k, -1.0), np.where(np.arange(k) % 2, 1.0, -1.0)])
    y = run(session(layer.model(), library), x.astype(np.float32))
    np.testing.assert_array_equal(y, layer.linear(x.astype(np.float32)))


def test_frames_do_not_touch_each_other(library: str) -> None:
    layer = SparseLayer.balanced(40, 63, Pattern(16, 16))
    x = _gaussian(12, 63)
    x[1] = 0
    x[2, 5] = np.nan
    x[3, 62] = np.inf
    x[5] *= 1e-30
    x[6] *= 1e30
    y = run(session(layer.model(), library), x)
    assert np.isnan(y[2:4]).all()
    np.testing.assert_array_equal(y[1], layer.bias)
    others = [0, 1, *range(4, 12)]
    np.testing.assert_array_equal(y[others], layer.linear(x[others]))


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 1, 3, 5), (0, 5), (2, 0, 5)])
def test_leading_dimensions_are_free(library: str, shape: tuple[int, ...]) -> None:
    model = SparseLayer.balanced(7, 5, Pattern(16, 16)).model(rank=len(shape))
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    y = run(session(model, library), x)
    assert y.shape == (*shape[:-1], 7)
    np.testing.assert_array_equal(y, run(session(model), x))


@pytest.mark.parametrize("pattern", [Pattern(16, 16), Pattern(8, 16)], ids=str)
@pytest.mark.parametrize(("n", "k", "frames"), [(176, 176, 177), (512, 512, 64), (1025, 63, 29)])
def test_threads_do_not_change_a_bit(
    library: str, n: int, k: int, frames: int, pattern: Pattern
) -> None:
    model = SparseLayer.balanced(n, k, pattern).model("silu")
    x = _gaussian(frames, k)
    alone = run(session(model, library, threads=1), x)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(run(session(model, library, threads=threads), x), alone)


def test_frames_are_alike_in_every_batch(library: str) -> None:
    one = session(SparseLayer.balanced(100, 70, Pattern(8, 16)).model("silu"), library)
    x = _gaussian(61, 70)
    together = run(one, x)
    for count in (1, 2, 5, 7, 8, 9, 25, 60):
        np.testing.assert_array_equal(run(one, x[:count]), together[:count])


def test_eight_threads_run_one_session(library: str) -> None:
    model = SparseLayer.balanced(128, 96, Pattern(16, 16)).model("silu")
    one = session(model, library, threads=2)
    inputs = [_gaussian(20 + 7 * i, 96, seed=i) for i in range(8)]
    expected = [run(one, x) for x in inputs]

    def work(i: int) -> bool:
        return all(np.array_equal(run(one, inputs[i]), expected[i]) for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def _spoiled(part: str, at: tuple[int, ...], value: int) -> Change:
    layer = SparseLayer.balanced(17, 70, Pattern(16, 16))
    packed, columns = pack_sparse(layer.codes, layer.pattern)
    array = {"weight": packed, "columns": columns}[part]
    array[at] = value
    return weight(part, array)


_PACKED = (2, 2, 4, 16, 4)
MALFORMED: dict[str, tuple[Change, str]] = {
    "rank": (weight("weight", np.zeros((2, 2, 256), np.int8)), "five dimensions"),
    "scalar": (weight("weight", np.zeros((), np.int8)), "five dimensions"),
    "slots": (weight("weight", np.zeros((2, 2, 3, 16, 4), np.int8)), "third 1, 2, 4 or 8"),
    "no slots": (weight("weight", np.zeros((2, 2, 0, 16, 4), np.int8)), "third 1, 2, 4 or 8"),
    "strips": (weight("weight", np.zeros((1, 2, 4, 16, 4), np.int8)), r"\[2, 2, 4, 16, 4\]"),
    "blocks": (weight("weight", np.zeros((2, 1, 4, 16, 4), np.int8)), r"\[2, 2, 4, 16, 4\]"),
    "type": (weight("weight", np.zeros(_PACKED, np.uint8)), "type|Type"),
    "columns": (weight("columns", np.zeros((2, 2, 2, 16, 4), np.uint8)), "columns has the shape"),
    "no columns": (weight("columns", np.zeros((2, 0, 4, 16, 4), np.uint8)), "columns has the"),
    "signed": (weight("columns", np.zeros(_PACKED, np.int8)), "type|Type"),
    "far column": (_spoiled("columns", (1, 1, 3, 15, 3), 64), "column 64 is not below 64"),
    "last column": (_spoiled("columns", (0, 0, 0, 0, 0), 255), "column 255 is not below 64"),
    "twice": (weight("columns", np.zeros(_PACKED, np.uint8)), "column 0 is named twice"),
    "beyond": (_spoiled("weight", (0, 1, 3, 0, 3), 1), "weight beyond the last column"),
    "scales": (weight("scales", np.ones(18, np.float32)), r"scales has the shape \[18\]"),
    "bias": (weight("bias", np.ones((17, 1), np.float32)), r"bias has the shape \[17, 1\]"),
    "input W": (as_input("weight"), "Input W must be an initializer"),
    "input columns": (as_input("columns"), "Input columns must be an initializer"),
    "input scales": (as_input("scales"), "Input scales must be an initializer"),
    "input bias": (as_input("bias"), "Input bias must be an initializer"),
    "no rows": (attribute("shape", [0, 70]), r"attribute shape is \[0, 70\]"),
    "negative": (attribute("shape", [17, -5]), r"attribute shape is \[17, -5\]"),
    "huge": (attribute("shape", [2**62, 2**62]), "attribute shape is"),
    "wide": (attribute("shape", [17, 2**20]), "K from 1 to 131072"),
    "tall": (attribute("shape", [2**31 - 1, 131072]), "asks for"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_layers_are_errors_with_a_sentence(library: str, case: str) -> None:
    change, sentence = MALFORMED[case]
    model = SparseLayer.balanced(17, 70, Pattern(16, 16)).model()
    change(model)
    with pytest.raises(Exception, match=sentence):
        session(model, library)


def test_slots_may_all_lie_beyond_the_columns(library: str) -> None:
    layer = SparseLayer.balanced(17, 5, Pattern(4, 64))
    layer.codes[:] = 0
    model = layer.model()
    places = np.arange(16, 20, dtype=np.uint8)  # one window, so that no slot reaches a column
    weight("columns", np.broadcast_to(places, (2, 1, 1, 16, 4)).copy())(model)
    x = _gaussian(9, 5)
    np.testing.assert_array_equal(run(session(model, library), x), layer.linear(x))


def test_input_of_another_width_is_an_error(library: str) -> None:
    model = SparseLayer.balanced(17, 70, Pattern(16, 16)).model()
    model.graph.input[0].type.tensor_type.shape.dim[1].Clear()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"
    one = session(model, library)
    for shape in [(3, 69), (3, 71), (3, 0)]:
        with pytest.raises(Exception, match=r"last dimension must be 70"):
            run(one, np.zeros(shape, np.float32))

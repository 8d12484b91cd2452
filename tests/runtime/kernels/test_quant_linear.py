"""The kernels of QuantLinear against its function body and its definition in numpy.

One file runs both ways: with the library and without. Without an activation the two agree bit for
bit wherever the body's own float sums are exact (K <= 1040).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from confpress.passes.operators.activated import ACTIVATIONS
from confpress.passes.operators.quantlinear import EPSILON

from ...passes.quant_layers import Floats, QuantLayer, activated, run, session
from .malformed import as_input, attribute, weight

# Tails of strips, groups, registers and tiles: N, K, frames.
SHAPES = (
    (1, 1, 1),
    (17, 63, 7),
    (16, 4, 6),
    (1025, 176, 13),
    (176, 176, 177),
    (65, 65, 33),
    (48, 1040, 5),
    (704, 176, 31),
)
# ONNX Runtime's sigmoid and erf are this far from the exact ones, times these magnitudes (< 60).
BODY_TOLERANCE = 5e-6
# Error of the kernels' own activations: relative to what they give, or to what they are given.
RELATIVE = {"silu": 1e-6, "sigmoid": 1e-6, "relu": 0}
OF_INPUT = {"gelu": 2e-7, "gelu_tanh": 2e-7}


@pytest.fixture
def library(linear_library: str) -> str:
    return linear_library


def _gaussian(frames: int, k: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).standard_normal((frames, k)).astype(np.float32)


@pytest.mark.parametrize(("n", "k", "frames"), SHAPES)
def test_kernel_equals_its_body(library: str, n: int, k: int, frames: int) -> None:
    layer = QuantLayer.random(n, k)
    model = layer.model()
    x = _gaussian(frames, k)
    y = run(session(model, library), x)
    np.testing.assert_array_equal(y, run(session(model), x))
    np.testing.assert_array_equal(y, layer.linear(x))


def _assert_activated(activation: str, y: Floats, z: Floats) -> None:
    difference = np.abs(y - activated(activation, z))
    if activation in OF_INPUT:
        assert (difference <= OF_INPUT[activation] * np.abs(z) + 1e-30).all()
    else:
        np.testing.assert_allclose(
            y, activated(activation, z), rtol=RELATIVE[activation], atol=1e-30
        )


@pytest.mark.parametrize(("n", "k", "frames"), [(17, 63, 7), (65, 65, 33)])
@pytest.mark.parametrize("activation", ACTIVATIONS[1:])
def test_kernel_with_activation(library: str, activation: str, n: int, k: int, frames: int) -> None:
    layer = QuantLayer.random(n, k)
    model = layer.model(activation)
    x = _gaussian(frames, k)
    y = run(session(model, library), x)
    np.testing.assert_allclose(y, run(session(model), x), rtol=0, atol=BODY_TOLERANCE)
    _assert_activated(activation, y, layer.linear(x))


@pytest.mark.parametrize("activation", ACTIVATIONS[1:])
def test_activations_of_all_magnitudes(library: str, activation: str) -> None:
    layer = QuantLayer.of_codes(np.full((1, 1), 127, np.int8))
    z = np.concatenate([-np.geomspace(1e-20, 87, 3000), np.geomspace(1e-20, 1e30, 3000)])
    x = (z / 127).astype(np.float32)[:, None]
    one = session(layer.model(activation), library)
    _assert_activated(activation, run(one, x), layer.linear(x))
    far = np.array([[-1.0], [-1e3], [-1e30]], np.float32)
    np.testing.assert_allclose(run(one, far), 0, rtol=0, atol=1e-37)
    layer.bias[:] = np.array(0xFFFFFFFF, np.uint32).view(np.float32)
    assert np.isnan(run(session(layer.model(activation), library), x)).all()


# Where neighbours sum to ±128 at most, AVX2 adds two products of theirs in 16 bits.
@pytest.mark.parametrize("k", [1, 4, 63, 176, 2048])
@pytest.mark.parametrize("code", [127, -127, -128, 65, 64, -64, -65])
def test_extreme_codes_do_not_saturate(library: str, k: int, code: int) -> None:
    layer = QuantLayer.of_codes(np.full((33, k), code, np.int8))
    x = np.stack([np.full(k, 1.0), np.full(k, -1.0), np.where(np.arange(k) % 2, 1.0, -1.0)])
    y = run(session(layer.model(), library), x.astype(np.float32))
    np.testing.assert_array_equal(y, layer.linear(x.astype(np.float32)))


@pytest.mark.parametrize("bound", [63, 64, 65])
@pytest.mark.parametrize(("n", "k", "frames"), [(65, 65, 33), (17, 176, 7)])
def test_weights_of_seven_bits(library: str, n: int, k: int, frames: int, bound: int) -> None:
    layer = QuantLayer.random(n, k)
    layer.codes[:] = np.clip(layer.codes, -bound, bound)
    x = _gaussian(frames, k)
    np.testing.assert_array_equal(run(session(layer.model(), library), x), layer.linear(x))


@pytest.mark.parametrize("pair", [(127, 1), (127, 2), (-127, -1), (-128, -1), (127, -128)])
def test_pairs_of_weights_at_the_edge_of_16_bits(library: str, pair: tuple[int, int]) -> None:
    layer = QuantLayer.of_codes(np.tile(np.array(pair, np.int8), (20, 8)))
    x = np.stack([np.full(16, 1.0), np.full(16, -1.0), np.tile([1.0, -1.0], 8)])
    x = x.astype(np.float32)
    np.testing.assert_array_equal(run(session(layer.model(), library), x), layer.linear(x))


def test_sums_beyond_the_floats_24_bits_are_exact(library: str) -> None:
    layer = QuantLayer.random(20, 4099)
    layer.codes[:] = np.abs(layer.codes)
    x = np.abs(_gaussian(9, 4099))
    np.testing.assert_array_equal(run(session(layer.model(), library), x), layer.linear(x))


def _codes_of(library: str, x: Floats) -> Floats:
    """The kernel's codes of x times the frame's scale: its weight begins with the unit matrix.

    A row behind it fills eight bits: AVX2 stores codes for such weights in another way.
    """
    k = x.shape[1]
    for last in (0, 127):
        layer = QuantLayer.of_codes(np.eye(k + 1, k, dtype=np.int8))
        layer.codes[k] = last
        y = run(session(layer.model(), library), x)
        np.testing.assert_array_equal(y, layer.linear(x))
    return y[:, :k]


def test_ties_round_to_even(library: str) -> None:
    halves = np.arange(-126.5, 127.0, 1.0)
    x = np.concatenate([halves, [127.0]]).astype(np.float32)[None]
    np.testing.assert_array_equal(_codes_of(library, x)[0, :-1], np.rint(halves))


def test_values_next_to_ties_are_truly_divided(library: str) -> None:
    generator = np.random.default_rng(3)
    largest = generator.uniform(0.01, 100, (400, 1)).astype(np.float32)
    s = largest / np.float32(127)
    ties = generator.integers(-126, 126, (400, 95)) + 0.5
    x = (ties * s).astype(np.float32)
    for _ in range(3):
        step = np.where(generator.random(x.shape) < 0.5, np.inf, -np.inf).astype(np.float32)
        _codes_of(library, np.concatenate([x, largest], axis=1))
        x = np.nextafter(x, step)


def test_frames_do_not_touch_each_other(library: str) -> None:
    layer = QuantLayer.random(40, 63)
    x = _gaussian(12, 63)
    x[1] = 0
    x[2, 5] = np.nan
    x[3, 62] = np.inf
    x[4, 0] = -np.inf
    x[5] *= 1e-30
    x[6] *= 1e30
    x[7] = EPSILON / 2
    x[8] = 1e-42
    model = layer.model()
    y = run(session(model, library), x)
    np.testing.assert_array_equal(y, run(session(model), x))
    assert np.isnan(y[2:5]).all()
    np.testing.assert_array_equal(y[1], layer.bias)
    others = [0, 1, *range(5, 12)]
    np.testing.assert_array_equal(y[others], layer.linear(x[others]))


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 1, 3, 5), (0, 5), (2, 0, 5)])
def test_leading_dimensions_are_free(library: str, shape: tuple[int, ...]) -> None:
    layer = QuantLayer.random(7, 5)
    model = layer.model(rank=len(shape))
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    y = run(session(model, library), x)
    assert y.shape == (*shape[:-1], 7)
    np.testing.assert_array_equal(y, run(session(model), x))


@pytest.mark.parametrize(("n", "k", "frames"), [(176, 176, 177), (512, 512, 64), (1025, 63, 29)])
def test_threads_do_not_change_a_bit(library: str, n: int, k: int, frames: int) -> None:
    model = QuantLayer.random(n, k).model("silu")
    x = _gaussian(frames, k)
    alone = run(session(model, library, threads=1), x)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(run(session(model, library, threads=threads), x), alone)


def test_frames_are_alike_in_every_batch(library: str) -> None:
    one = session(QuantLayer.random(100, 70).model("silu"), library)
    x = _gaussian(61, 70)
    together = run(one, x)
    for count in (1, 2, 5, 6, 7, 25, 60):
        np.testing.assert_array_equal(run(one, x[:count]), together[:count])


def test_eight_threads_run_one_session(library: str) -> None:
    one = session(QuantLayer.random(128, 96).model("silu"), library, threads=2)
    inputs = [_gaussian(20 + 7 * i, 96, seed=i) for i in range(8)]
    expected = [run(one, x) for x in inputs]

    def work(i: int) -> bool:
        return all(np.array_equal(run(one, inputs[i]), expected[i]) for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


_PACKED = (2, 2, 16, 4)
MALFORMED = {
    "rank": (weight("weight", np.zeros((2, 2, 64), np.int8)), r"W has the shape \[2, 2, 64\]"),
    "strips": (weight("weight", np.zeros((1, 2, 16, 4), np.int8)), r"asks for \[2, 2, 16, 4\]"),
    "groups": (weight("weight", np.zeros((2, 1, 16, 4), np.int8)), r"asks for \[2, 2, 16, 4\]"),
    "empty": (weight("weight", np.zeros((2, 0, 16, 4), np.int8)), r"asks for \[2, 2, 16, 4\]"),
    "transposed": (weight("weight", np.zeros((2, 2, 4, 16), np.int8)), "W has the shape"),
    "type": (weight("weight", np.zeros(_PACKED, np.uint8)), "type|Type"),
    "scales": (weight("scales", np.ones(18, np.float32)), r"scales has the shape \[18\]"),
    "scalar scale": (weight("scales", np.ones((), np.float32)), r"scales has the shape \[\]"),
    "bias": (weight("bias", np.ones((17, 1), np.float32)), r"bias has the shape \[17, 1\]"),
    "input W": (as_input("weight"), "Input W must be an initializer"),
    "input scales": (as_input("scales"), "Input scales must be an initializer"),
    "input bias": (as_input("bias"), "Input bias must be an initializer"),
    "no rows": (attribute("shape", [0, 5]), r"attribute shape is \[0, 5\]"),
    "negative": (attribute("shape", [17, -5]), r"attribute shape is \[17, -5\]"),
    "huge": (attribute("shape", [2**62, 2**62]), "attribute shape is"),
    "wide": (attribute("shape", [17, 2**20]), "K from 1 to 131072"),
    "three sizes": (attribute("shape", [17, 5, 1]), r"attribute shape is \[17, 5, 1\]"),
    "shape": (attribute("shape", [17, 9]), r"asks for \[2, 3, 16, 4\]"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_layers_are_errors_with_a_sentence(library: str, case: str) -> None:
    change, sentence = MALFORMED[case]
    model = QuantLayer.random(17, 5).model()
    change(model)
    with pytest.raises(Exception, match=sentence):
        session(model, library)


def test_missing_shape_is_an_error(library: str) -> None:
    model = QuantLayer.random(17, 5).model()
    del model.graph.node[0].attribute[:]
    with pytest.raises(Exception, match="attribute shape"):
        session(model, library)


def test_input_of_another_width_is_an_error(library: str) -> None:
    model = QuantLayer.random(17, 5).model()
    model.graph.input[0].type.tensor_type.shape.dim[1].Clear()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"
    one = session(model, library)
    for shape in [(3, 4), (3, 6), (3, 0)]:
        with pytest.raises(Exception, match=r"last dimension must be 5"):
            run(one, np.zeros(shape, np.float32))
    assert run(one, np.zeros((3, 5), np.float32)).shape == (3, 17)

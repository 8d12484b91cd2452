"""Compensation lowers a layer's output error, keeps zeros, and gives codes like any others."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.formats import FORMATS, Scheme, compensate, quantize_matrix
from hypothesis import given, settings
from hypothesis import strategies as st

INT4 = Scheme(FORMATS["int4"], "block", 32, method="mse")


def layer(k: int, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A weight [k, n] and correlated inputs [frames, k]."""
    random = np.random.default_rng(seed)
    weight = random.standard_normal((k, n)).astype(np.float32)
    mixing = random.standard_normal((max(k // 4, 1), k))
    inputs = random.standard_normal((4 * k, max(k // 4, 1))) @ mixing
    return weight, (inputs + 0.1 * random.standard_normal(inputs.shape)).astype(np.float32)


def output_error(inputs: np.ndarray, weight: np.ndarray, approximation: np.ndarray) -> float:
    return float(np.square(inputs @ (weight - approximation), dtype=np.float64).sum())


@pytest.mark.parametrize("name", ["int4", "uint4", "fp4", "int2", "int8", "fp8"])
@pytest.mark.parametrize("block", [0, 32])
def test_correlated_inputs_gain(name: str, block: int) -> None:
    scheme = Scheme(FORMATS[name], "block" if block else "channel", block, method="mse")
    weight, inputs = layer(200, 24)
    plain = quantize_matrix(weight, scheme, np.square(inputs).mean(0)).dequantized()
    repaired = compensate(weight, scheme, inputs.T @ inputs).dequantized()
    assert output_error(inputs, weight, repaired) < 0.5 * output_error(inputs, weight, plain)


def test_it_is_the_textbook_recursion() -> None:
    """Against rounding row by row and solving for all rows behind it by least squares."""
    weight, inputs = layer(12, 3)
    scheme = Scheme(FORMATS["int4"])
    damping = 0.01
    moments = inputs.T.astype(np.float64) @ inputs
    moments += damping * np.trace(moments) / 12 * np.eye(12)
    found = compensate(weight, scheme, inputs.T @ inputs, damping=damping)
    scales = found.scales[0].astype(np.float64)
    rest, expected = weight.astype(np.float64), np.empty((12, 3))
    for row in range(12):
        expected[row] = np.clip(np.rint(rest[row] / scales), -8, 7) * scales
        behind = slice(row + 1, None)
        # The rows behind the rounded one that change the output least.
        gone = rest[row] - expected[row]
        fitted = np.linalg.lstsq(moments[behind, behind], moments[behind, row : row + 1] * gone)
        rest[behind] += fitted[0]
    np.testing.assert_allclose(found.dequantized(), expected, rtol=1e-5, atol=1e-5)


def test_zeros_stay_zeros() -> None:
    weight, inputs = layer(96, 20)
    weight[np.random.default_rng(1).random(weight.shape) < 0.5] = 0
    for name in ("int4", "uint4", "fp4"):
        scheme = dataclasses.replace(INT4, number=FORMATS[name])
        repaired = compensate(weight, scheme, inputs.T @ inputs).dequantized()
        assert (repaired[weight == 0] == 0).all()
        assert np.count_nonzero(repaired) > 0.5 * np.count_nonzero(weight)


@settings(max_examples=25, deadline=None)
@given(
    k=st.integers(1, 150),
    n=st.integers(1, 5),
    name=st.sampled_from(["int4", "uint4", "fp4", "int8"]),
    granularity=st.sampled_from(["tensor", "channel", "block"]),
)
def test_any_shape_decodes_to_finite_numbers(k: int, n: int, name: str, granularity: str) -> None:
    scheme = Scheme(FORMATS[name], granularity, 16 if granularity == "block" else 0)  # type: ignore[arg-type]
    weight, inputs = layer(k, n)
    found = compensate(weight, scheme, inputs.T @ inputs)
    assert found.codes.shape == (k, n)
    assert found.dequantized().shape == (k, n)
    assert np.isfinite(found.dequantized()).all()
    assert found.scales.shape == quantize_matrix(weight, scheme).scales.shape


def test_inputs_that_were_never_seen_are_rounded_plainly() -> None:
    weight, _ = layer(64, 8)
    found = compensate(weight, INT4, np.zeros((64, 64)))
    np.testing.assert_array_equal(found.codes, quantize_matrix(weight, INT4).codes)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_what_is_not_finite_is_refused_by_name(bad: float) -> None:
    weight, inputs = layer(64, 8)
    gram = inputs.T @ inputs
    weight[3, 3] = bad
    with pytest.raises(ConfpressError, match=r"layer\.w holds infinities or NaN"):
        compensate(weight, INT4, gram, name="layer.w")
    with pytest.raises(ConfpressError, match="second moments of 64 inputs"):
        compensate(np.ones((64, 8), np.float32), INT4, gram[:3, :3])

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from confpress.runtime.calibration.statistics import Statistics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

# A bin is at most 1/32 of its value wide.
BIN = 1 / 32

arrays = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 5)),
    elements=st.floats(-1e4, 1e4, width=32),
)


def observed(
    *parts: npt.NDArray[np.float32], axis: int | None = -1, gram: bool = False
) -> Statistics:
    statistics = Statistics("x", axis, gram)
    for part in parts:
        statistics.update(part)
    return statistics


def squared_error(x: npt.NDArray[np.float32], low: float, high: float, steps: int) -> float:
    """Sum of squared errors of really quantising x."""
    step = (high - low) / steps
    codes = np.clip(np.rint(x.astype(np.float64) / step) + round(-low / step), 0, steps)
    return float((((codes - round(-low / step)) * step - x) ** 2).sum())


@settings(deadline=None, max_examples=50)
@given(st.lists(arrays, min_size=1, max_size=3))
def test_moments_and_extremes_are_those_of_all_data(parts: list[npt.NDArray[np.float32]]) -> None:
    width = parts[0].shape[1]
    parts = [np.resize(p, (p.shape[0], width)) for p in parts]
    everything = np.concatenate(parts).astype(np.float64)
    s = observed(*parts, gram=True)
    assert (s.minimum, s.maximum) == (everything.min(), everything.max())
    assert (s.count, s.channel_count) == (everything.size, everything.shape[0])
    scale = max(float(np.abs(everything).max()), 1e-30)
    assert s.mean == pytest.approx(everything.mean(), abs=1e-6 * scale)
    assert s.mean_square == pytest.approx((everything**2).mean(), rel=1e-5)
    assert np.allclose(s.channel_minimum, everything.min(axis=0))
    assert np.allclose(s.channel_square_sum, (everything**2).sum(axis=0), rtol=1e-5)
    assert s.gram is not None
    assert np.allclose(s.gram, everything.T @ everything, rtol=1e-4, atol=1e-5 * scale**2 + 1e-37)
    assert s.histogram.sum() == everything.size


def test_the_channel_axis_of_convolutions() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype(np.float32)
    s = observed(x, axis=1)
    assert np.allclose(s.channel_maximum, x.max(axis=(0, 2, 3)))
    assert np.allclose(s.channel_sum, x.sum(axis=(0, 2, 3)), atol=1e-4)


@settings(deadline=None, max_examples=50)
@given(arrays, st.floats(0.01, 0.99))
def test_quantiles_lie_within_a_bin_of_the_data(x: npt.NDArray[np.float32], share: float) -> None:
    value = observed(x).quantile(share)
    values = np.sort(x.ravel()).astype(np.float64)
    below = np.count_nonzero(values < value - abs(value) * BIN - 1e-37)
    up_to = np.count_nonzero(values <= value + abs(value) * BIN + 1e-37)
    assert below - 1 <= share * values.size <= up_to + 1


def test_percentile_ignores_an_outlier_and_minmax_does_not() -> None:
    x = np.random.default_rng(1).standard_normal(100_000).astype(np.float32)
    x[0] = 1e6
    s = observed(x[:, None])
    assert s.range("minmax").high == 1e6
    kept = s.range("percentile", percentile=99.9)
    assert kept.high == pytest.approx(3.29, rel=0.05)
    assert kept.low == -kept.high


def test_ranges_hold_zero() -> None:
    s = observed(np.array([[3.0], [5.0]], np.float32))
    assert (s.range(symmetric=False).low, s.range(symmetric=False).high) == (0.0, 5.0)
    s = observed(np.array([[-3.0], [-5.0]], np.float32))
    assert (s.range(symmetric=False).low, s.range(symmetric=False).high) == (-5.0, 0.0)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", ["normal", "laplace", "relu", "outliers"])
def test_mse_range_is_as_good_as_a_search_with_the_data(
    kind: str, bits: int, symmetric: bool
) -> None:
    """Within 3 % of the best of 200 thresholds that are tried by really quantising."""
    generator = np.random.default_rng(2)
    normal = generator.standard_normal(40_000)
    data = {
        "normal": normal,
        "laplace": generator.laplace(size=40_000),
        "relu": np.maximum(normal, 0),
        "outliers": np.concatenate((normal, normal[:20] * 30)),
    }
    x = data[kind].astype(np.float32)
    s = observed(x[:, None])
    steps = 2**bits - (2 if symmetric else 1)
    found = s.range("mse", bits=bits, symmetric=symmetric)
    full = s.range(symmetric=symmetric)
    tried = np.geomspace(1, 1 / 64, 200)
    best = min(squared_error(x, full.low * t, full.high * t, steps) for t in tried)
    assert squared_error(x, found.low, found.high, steps) <= 1.03 * best


def test_all_zero_data_has_a_range() -> None:
    s = observed(np.zeros((4, 2), np.float32))
    for method in ("minmax", "percentile", "mse"):
        for symmetric in (True, False):
            found = s.range(method, symmetric=symmetric)  # type: ignore[arg-type]
            assert (found.low, found.high) == (0.0, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        observed(np.array([[1.0, bad]], np.float32))


def test_channels_must_stay_and_something_must_be_seen() -> None:
    with pytest.raises(ValueError, match="3 channels after 2"):
        observed(np.ones((4, 2), np.float32), np.ones((4, 3), np.float32))
    with pytest.raises(ValueError, match="nothing was seen of x"):
        observed().range()
    assert observed(np.ones((0, 2), np.float32)).count == 0

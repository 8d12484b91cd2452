from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from confpress.passes.balanced import highest
from confpress.passes.compressed_sensing import sense

Floats = npt.NDArray[np.float32]


def _keep(scores: Floats) -> npt.NDArray[np.bool_]:
    return highest(scores, 4, 16)


def _case(k: int = 64, n: int = 24, rank: int = 20) -> tuple[Floats, Floats]:
    """Weights, and inputs that go with one another as those of a model do."""
    random = np.random.default_rng(0)
    inputs = random.standard_normal((500, rank)) @ random.standard_normal((rank, k))
    inputs += 0.3 * random.standard_normal(inputs.shape)
    return random.standard_normal((n, k)).astype(np.float32), inputs.astype(np.float32)


def _error(inputs: Floats, weight: Floats, found: Floats) -> float:
    lost = inputs @ (weight - found).T
    return float(np.mean(lost**2) / np.mean((inputs @ weight.T) ** 2))


def test_outputs_change_less_than_with_the_largest_weights() -> None:
    weight, inputs = _case()
    moments = inputs.T @ inputs
    found = sense(weight, moments, _keep)
    largest = weight * _keep(weight**2 * np.diagonal(moments))
    refitted = np.zeros_like(weight)
    for row, (kept, wanted) in enumerate(zip(largest != 0, weight, strict=True)):
        refitted[row, kept] = np.linalg.lstsq(inputs[:, kept], inputs @ wanted)[0]
    assert _error(inputs, weight, found) < 0.9 * _error(inputs, weight, refitted)
    assert _error(inputs, weight, refitted) < 0.7 * _error(inputs, weight, largest)


def test_every_span_has_its_zeros() -> None:
    weight, inputs = _case()
    found = sense(weight, inputs.T @ inputs, _keep)
    assert (np.count_nonzero(found.reshape(24, 4, 16), axis=2) == 4).all()


def test_sparse_weights_stay_as_they_are() -> None:
    weight, inputs = _case()
    weight *= _keep(weight**2)
    found = sense(weight, inputs.T @ inputs, _keep)
    assert np.allclose(found, weight, atol=1e-3)


def test_the_size_of_moments_does_not_matter() -> None:
    weight, inputs = _case()
    moments = (inputs.T @ inputs).astype(np.float64)
    small, large = (sense(weight, scale * moments, _keep) for scale in (1e-12, 1e12))
    assert np.allclose(small, large, atol=1e-5)


def test_inputs_that_do_not_go_with_others_leave_the_largest() -> None:
    weight, _ = _case()
    found = sense(weight, np.eye(64), _keep)
    assert np.allclose(found, weight * _keep(weight**2), atol=1e-6)


@pytest.mark.parametrize("silent", [slice(None), slice(0, 16), slice(0, 1)])
def test_inputs_that_are_always_zero(silent: slice) -> None:
    weight, inputs = _case()
    inputs[:, silent] = 0
    found = sense(weight, inputs.T @ inputs, _keep)
    assert np.isfinite(found).all()


def test_a_short_last_span() -> None:
    scores = np.arange(20, dtype=np.float32).reshape(1, 20)
    kept = highest(scores, 4, 16)
    assert kept[0].nonzero()[0].tolist() == [12, 13, 14, 15, 16, 17, 18, 19]

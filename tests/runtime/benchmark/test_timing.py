from __future__ import annotations

import numpy as np
from confpress.runtime.benchmark.timing import ratio


def test_ratio_of_a_drifting_machine_is_taken_by_round() -> None:
    """Both get three times slower over the run; the second is always twice as fast."""
    drift = np.linspace(1, 3, 30)
    found = ratio(100 * drift, 50 * drift)
    assert (found.median, found.low, found.high, found.quartiles) == (2, 2, 2, (2, 2))


def test_ratio_interval_covers_the_truth() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(50):
        first = 100 * np.exp(0.05 * generator.standard_normal(20))
        other = 80 * np.exp(0.05 * generator.standard_normal(20))
        found = ratio(first, other, seed)
        assert found.quartiles[0] <= found.median <= found.quartiles[1]
        covered += found.low <= 1.25 <= found.high
    assert covered >= 42

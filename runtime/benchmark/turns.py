"""Timing in turn: warm-up until times settle, then rounds in random order; numpy alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]

# Warm-up ends when the medians of two successive groups of runs agree.
_GROUP = 3
_AGREEMENT = 0.05
_MOST_WARM_UP = 24


def warm_up(run: Callable[[], object]) -> int:
    """Run until times have settled.

    Returns:
        How many runs it took, at most 24.
    """
    times: list[float] = []
    while len(times) < _MOST_WARM_UP:
        times.append(_milliseconds(run))
        if len(times) >= 2 * _GROUP and len(times) % _GROUP == 0:
            earlier = float(np.median(times[-2 * _GROUP : -_GROUP]))
            later = float(np.median(times[-_GROUP:]))
            if abs(later - earlier) <= _AGREEMENT * earlier:
                break
    return len(times)


def take_turns(
    runs: Sequence[Callable[[], object]],
    rounds: int,
    seed: int,
    advance: Callable[[float], object] = lambda _: None,
) -> Times:
    """Time each of `runs` once a round, in an order that is drawn anew for every round.

    Args:
        runs: What to time.
        rounds: How often.
        seed: Of the order.
        advance: Told after each run that one more is done.

    Returns:
        Milliseconds, float64 [runs, rounds].
    """
    generator = np.random.default_rng(seed)
    times = np.empty((len(runs), rounds))
    for index in range(rounds):
        for which in generator.permutation(len(runs)):
            times[which, index] = _milliseconds(runs[which])
            advance(1)
    return times


def _milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3

"""Timing several things against each other: warm-up, rounds in random order, ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from .record import Record

Times = npt.NDArray[np.float64]

# Warm-up ends when the medians of two successive groups of runs agree.
_GROUP = 3
_AGREEMENT = 0.05
_MOST_WARM_UP = 24

_RESAMPLES = 2000


class Ratio(Record):
    """How many times faster than the first: its time divided by this one's, round by round."""

    median: float
    low: float = Field(description="lower end of the median's 95 % bootstrap interval")
    high: float = Field(description="upper end of it")
    quartiles: tuple[float, float] = Field(description="quartiles over the rounds")
    different: bool = Field(
        description="whether the two differ: 1 lies outside the median's 99 % bootstrap interval"
    )


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


def ratio(first: Times, other: Times, seed: int = 0) -> Ratio:
    """Compare two rows of `take_turns`.

    Args:
        first: Milliseconds of the one that is compared with, [rounds].
        other: Milliseconds of this one in the same rounds.
        seed: Of the bootstrap.
    """
    ratios = first / other
    draws = np.random.default_rng(seed).integers(0, ratios.size, (_RESAMPLES, ratios.size))
    medians = np.median(ratios[draws], axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    least, most = np.percentile(medians, [0.5, 99.5])
    lower, upper = np.percentile(ratios, [25, 75])
    return Ratio(
        median=float(np.median(ratios)),
        low=float(low),
        high=float(high),
        quartiles=(float(lower), float(upper)),
        different=not least <= 1.0 <= most,
    )


def _milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3

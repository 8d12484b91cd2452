"""Comparing what was timed in turn: ratios round by round."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from ..record import Record
from .turns import Times

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

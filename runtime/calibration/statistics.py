"""Running statistics of a tensor, in memory that does not grow with the data.

The histogram needs no range beforehand: a bin is a sign, an exponent and the first
`MANTISSA_BITS` bits of the mantissa, so that a bin is 1.6 to 3.2 % of its value wide at any
magnitude, an outlier takes nothing from the resolution elsewhere, and two histograms add up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...passes.quantize import Range

MANTISSA_BITS = 5
_SHIFT = 23 - MANTISSA_BITS
_BINS = 1 << (32 - _SHIFT)
_HALF = _BINS // 2
# Elements counted at once: the temporary index array stays in the cache.
_CHUNK = 1 << 18

# Clipping thresholds tried, as parts of the largest value: 32 an octave, over six octaves.
_SHRINK = np.geomspace(1.0, 1.0 / 64.0, 193)

Method = Literal["minmax", "percentile", "mse"]
Floats = npt.NDArray[np.floating[Any]]


def _nothing() -> npt.NDArray[np.float32]:
    return np.empty(0, np.float32)


@dataclass
class Statistics:
    """What calibration saw of one value.

    Attributes:
        name: The value's name in the graph.
        channel_axis: The axis that `channel_*` and `gram` run along; None is one channel for all.
        count: Elements seen.
        channel_minimum, channel_maximum: float32 [channels].
        channel_sum, channel_square_sum: float64 [channels].
        channel_count: Elements seen per channel.
        gram: Sum of x·xᵀ over all positions, float64 [channels, channels], where it was asked for.
        sample: float32 [rows, channels], drawn evenly from all positions; at most ``rows``.
        histogram: int64, counts by sign, exponent and leading mantissa bits; zeros where it was
            not asked for, which saves most of the time.
    """

    name: str
    channel_axis: int | None = None
    with_gram: bool = False
    rows: int = 0
    with_histogram: bool = True
    count: int = 0
    channel_minimum: npt.NDArray[np.float32] = field(default_factory=_nothing)
    channel_maximum: npt.NDArray[np.float32] = field(default_factory=_nothing)
    channel_sum: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    channel_square_sum: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    gram: npt.NDArray[np.float64] | None = None
    sample: npt.NDArray[np.float32] = field(default_factory=_nothing)
    histogram: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    _draws: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0), repr=False)
    _random: np.random.Generator = field(
        default_factory=lambda: np.random.default_rng(0), repr=False
    )

    @property
    def minimum(self) -> float:
        """Smallest value seen."""
        return float(self.channel_minimum.min())

    @property
    def maximum(self) -> float:
        """Largest value seen."""
        return float(self.channel_maximum.max())

    @property
    def channel_count(self) -> int:
        """Elements seen per channel."""
        return self.count // max(self.channel_sum.size, 1)

    @property
    def mean(self) -> float:
        """Mean of all elements."""
        return float(self.channel_sum.sum() / self.count)

    @property
    def mean_square(self) -> float:
        """Mean of the squares of all elements."""
        return float(self.channel_square_sum.sum() / self.count)

    def update(self, array: Floats) -> None:
        """Add an array; its channel axis must have the same length every time.

        Raises:
            ValueError: the array holds NaN or infinity, or another number of channels.
        """
        if array.size == 0:
            return
        rows = self._rows(np.asarray(array, np.float32))
        low, high = rows.min(axis=0), rows.max(axis=0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError("it is not finite")
        total = rows.sum(axis=0, dtype=np.float64)
        square = np.einsum("ij,ij->j", rows, rows, dtype=np.float64)
        if self.count == 0:
            self.channel_minimum, self.channel_maximum = low, high
            self.channel_sum, self.channel_square_sum = total, square
        elif low.shape != self.channel_minimum.shape:
            raise ValueError(f"it has {low.size} channels after {self.channel_minimum.size}")
        else:
            np.minimum(self.channel_minimum, low, out=self.channel_minimum)
            np.maximum(self.channel_maximum, high, out=self.channel_maximum)
            self.channel_sum += total
            self.channel_square_sum += square
        if self.with_gram:
            product = (rows.T @ rows).astype(np.float64)
            self.gram = product if self.gram is None else self.gram + product
        if self.rows:
            self._draw(rows)
        self.count += rows.size
        if self.with_histogram:
            self._count_bins(rows)

    def _rows(self, array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """As [positions, channels]."""
        if self.channel_axis is None:
            return array.reshape(-1, 1)
        rows = np.moveaxis(array, self.channel_axis, -1)
        return rows.reshape(-1, rows.shape[-1])

    def _draw(self, rows: npt.NDArray[np.float32]) -> None:
        """Keeps the positions whose random numbers are the smallest of all so far."""
        draws = self._random.random(len(rows))
        fresh = np.argsort(draws, kind="stable")[: self.rows]
        held = self.sample if self.sample.size else rows[:0]
        both = np.concatenate((self._draws, draws[fresh]))
        kept = np.argsort(both, kind="stable")[: self.rows]
        self.sample = np.concatenate((held, rows[fresh]))[kept]
        self._draws = both[kept]

    def _count_bins(self, rows: npt.NDArray[np.float32]) -> None:
        bits = np.ascontiguousarray(rows).reshape(-1).view(np.uint32)
        for start in range(0, bits.size, _CHUNK):
            keys = (bits[start : start + _CHUNK] >> _SHIFT).astype(np.intp)
            self.histogram += np.bincount(keys, minlength=_BINS)

    def range(
        self,
        method: Method = "minmax",
        *,
        percentile: float = 99.99,
        bits: int = 8,
        symmetric: bool = True,
    ) -> Range:
        """The range to quantise to; it contains zero.

        Args:
            method: `minmax` takes everything seen; `percentile` cuts off the same share of
                elements at both ends; `mse` minimises the expected squared error of rounding
                and clipping together.
            percentile: Share of elements kept, in percent.
            bits: Width of the integers, for `mse`.
            symmetric: Whether the range is -c to c.

        Raises:
            ValueError: nothing was seen.
        """
        if self.count == 0:
            raise ValueError(f"nothing was seen of {self.name}")
        if method == "mse":
            return self._mse_range(2**bits - (2 if symmetric else 1), symmetric)
        low, high = self.minimum, self.maximum
        if method == "percentile":
            tail = (1.0 - percentile / 100.0) / 2.0
            low, high = max(low, self.quantile(tail)), min(high, self.quantile(1.0 - tail))
        return _with_zero(low, high, symmetric)

    def quantile(self, share: float) -> float:
        """The value below which `share` of the elements lie, from the histogram."""
        edges, counts = self._ordered()
        cumulative = np.concatenate(([0], np.cumsum(counts))).astype(np.float64)
        value = np.interp(share * cumulative[-1], cumulative, edges)
        return float(np.clip(value, self.minimum, self.maximum))

    def _ordered(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Edges [bins + 1] from negative to positive and counts [bins], empty ends cut off."""
        magnitudes = (np.arange(_HALF + 1, dtype=np.uint32) << _SHIFT).view(np.float32)
        magnitudes = np.where(np.isfinite(magnitudes), magnitudes, np.finfo(np.float32).max)
        counts = np.concatenate((self.histogram[_HALF:][::-1], self.histogram[:_HALF]))
        edges = np.concatenate((-magnitudes[::-1], magnitudes[1:])).astype(np.float64)
        seen = np.flatnonzero(counts)
        first, last = int(seen[0]), int(seen[-1]) + 1
        return edges[first : last + 1], counts[first:last]

    def _mse_range(self, steps: int, symmetric: bool) -> Range:
        edges, counts = self._ordered()
        full = _with_zero(self.minimum, self.maximum, symmetric)

        def error(low: float, high: float) -> float:
            return _expected_error(edges, counts, low, high, steps)

        if symmetric:
            high = min(full.high * _SHRINK, key=lambda c: error(-c, c))
            return Range(float(-high), float(high))
        low, high = full.low, full.high
        for _ in range(2):  # one end after the other; a second round changes little
            high = min(full.high * _SHRINK, key=lambda c: error(low, c))
            low = min(full.low * _SHRINK, key=lambda c: error(c, high))
        return Range(float(low), float(high))


def _expected_error(
    edges: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    low: float,
    high: float,
    steps: int,
) -> float:
    """Sum of squared errors of quantising a histogram to `steps` intervals from low to high.

    Values that are clipped err by their distance to the range. The others err by a uniform
    rounding error, step² / 12, but never by more than their own square, as those below half a
    step become zero.
    """
    if high <= low:
        return float("inf")
    step = (high - low) / steps
    centre = (edges[:-1] + edges[1:]) / 2.0
    within_bin = (edges[1:] - edges[:-1]) ** 2 / 12.0
    clipped = np.maximum(np.maximum(low - centre, centre - high), 0.0)
    rounding = np.where(np.abs(centre) < step / 2.0, centre**2 + within_bin, step**2 / 12.0)
    error = np.where(clipped > 0.0, clipped**2 + within_bin, rounding)
    return float((counts * error).sum())


def _with_zero(low: float, high: float, symmetric: bool) -> Range:
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        high = max(-low, high)
        low = -high
    return Range(low, high)

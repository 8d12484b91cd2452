"""Matrices as codes, scales and zero points: ``(code - zero point) · scale``, group by group."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from ..errors import ConfpressError
from .number import Codes, Floats
from .scale_types import stored
from .scheme import Scheme

#: Parts of the maximum that clipping tries.
_PARTS = np.linspace(1.0, 0.4, 13, dtype=np.float32)
#: Rounds of least squares behind them.
_ROUNDS = 4
#: Elements searched at once: temporary arrays of them stay in the cache.
_CHUNK = 1 << 17


@dataclasses.dataclass(frozen=True)
class QuantizedMatrix:
    """A matrix [K, N] in a scheme.

    Attributes:
        scheme: How it was quantised.
        codes: [K, N], of the format's type.
        scales: float32 [groups, N], or [1, 1] for one scale: as they are after storing.
        points: Zero points of the format's type and the shape of ``scales``; None where none is
            stored.
    """

    scheme: Scheme
    codes: Codes
    scales: Floats
    points: Codes | None

    def dequantized(self) -> Floats:
        """What the codes mean, float32 [K, N]; in the order of DequantizeLinear."""
        rows = self.scheme.rows(self.codes.shape[0])
        values = self.scheme.number.decode(self.codes)
        if self.points is not None:
            values = values - _by_row(self.scheme.number.decode(self.points), rows, len(values))
        return values * _by_row(self.scales, rows, len(values))

    @property
    def stored_bytes(self) -> int:
        """Bytes of everything stored."""
        return self.scheme.stored_bytes(*self.codes.shape)


def quantize_matrix(
    weight: npt.NDArray[np.float32],
    scheme: Scheme,
    importance: npt.NDArray[np.floating] | None = None,
    *,
    name: str = "the matrix",
) -> QuantizedMatrix:
    """Quantises a matrix.

    Args:
        weight: float32 [K, N]; its rows are summed over.
        scheme: How.
        importance: What squared errors of each row count, [K], such as E[x²] of its input; all the
            same where it is left out. ``clip`` and ``mse`` use it.
        name: What the error calls the matrix.

    Raises:
        ConfpressError: The weight holds infinities or NaN, or is no matrix.
    """
    if weight.ndim != 2 or weight.size == 0:
        raise ConfpressError(f"{name} has the shape {list(weight.shape)}; a matrix is needed.")
    if not np.isfinite(weight).all():
        raise ConfpressError(f"{name} holds infinities or NaN, which no number format can store.")
    k, n = weight.shape
    counts = importance_of_rows(k, importance)
    wide = n if scheme.granularity == "tensor" else max(_CHUNK // k, 1)
    parts = [
        _quantize_columns(weight[:, start : start + wide], scheme, counts)
        for start in range(0, n, wide)
    ]
    codes = np.concatenate([each[0] for each in parts], axis=1)
    scales = np.concatenate([each[1] for each in parts], axis=1)
    points = np.concatenate([each[2] for each in parts], axis=1)
    typed = points.astype(scheme.number.dtype) if scheme.has_points else None
    return QuantizedMatrix(scheme, codes, scales, typed)


def weight_error(
    weight: npt.NDArray[np.float32],
    approximation: npt.NDArray[np.float32],
    importance: npt.NDArray[np.floating] | None = None,
) -> float:
    """``Σ h_k (w_kn - ŵ_kn)²``, with h = 1 where no importance is given."""
    difference = weight - approximation
    squares = np.einsum("kn,kn->k", difference, difference, dtype=np.float64)
    return float(squares.sum() if importance is None else squares @ importance)


def importance_of_rows(k: int, importance: npt.NDArray[np.floating] | None) -> Floats:
    """What squared errors of each row count, float32 [K]: 1 in the mean.

    Raises:
        ConfpressError: they are not K finite numbers that are not negative.
    """
    if importance is None:
        return np.ones(k, np.float32)
    if importance.shape != (k,) or not np.isfinite(importance).all() or (importance < 0).any():
        raise ConfpressError(f"importance must be {k} finite numbers that are not negative.")
    mean = float(importance.mean())
    return (importance / mean).astype(np.float32) if mean > 0 else np.ones(k, np.float32)


def _quantize_columns(
    weight: Floats, scheme: Scheme, counts: Floats
) -> tuple[Codes, Floats, Floats]:
    """Codes [K, n], scales and zero points [groups, n] (or [1, 1]) of some columns."""
    k, n = weight.shape
    whole = scheme.granularity == "tensor"
    # Padding is zero, which every group's range holds, and its errors do not count.
    rows = scheme.rows(k)
    groups = -(-k // rows)
    padded = np.pad(weight, ((0, groups * rows - k), (0, 0))).reshape(groups, rows, n)
    heed = np.pad(counts, (0, groups * rows - k)).reshape(groups, rows, 1)
    axes: tuple[int, ...] = (1, 2) if whole else (1,)
    scales, points = search_scales(padded, heed, scheme, axes)
    number = scheme.number
    codes = number.encode(padded / scales + points)
    shape = (1, 1) if whole else (groups, n)
    return codes.reshape(-1, n)[:k], scales.reshape(shape), points.reshape(shape)


def search_scales(
    values: Floats, heed: Floats, scheme: Scheme, axes: tuple[int, ...]
) -> tuple[Floats, Floats]:
    """Scales and zero points of groups, by the scheme's method.

    Args:
        values: float32 [groups, rows, N].
        heed: What squared errors count, of a shape that broadcasts against ``values``.
        scheme: How.
        axes: What shares a scale: the rows (1,), or rows and columns (1, 2).

    Returns:
        Both float32, of the shape of ``values`` with the axes kept as 1.
    """
    low = np.minimum(values.min(axis=axes, keepdims=True), 0)
    high = np.maximum(values.max(axis=axes, keepdims=True), 0)
    best, points = _scales(low, high, scheme)
    if scheme.method == "maximum":
        return best, points
    least = _error(values, heed, best, points, scheme, axes)
    for part in _PARTS[1:]:
        _keep_better(
            values,
            heed,
            *_scales(low * part, high * part, scheme),
            scheme,
            axes,
            best,
            points,
            least,
        )
    for _ in range(_ROUNDS if scheme.method == "mse" else 0):
        centred = scheme.number.round(values / best + points) - points
        over = (heed * centred * values).sum(axis=axes, keepdims=True)
        under = (heed * centred * centred).sum(axis=axes, keepdims=True)
        fitted = np.divide(over, under, out=best.copy(), where=under > 0)
        trial = stored(np.where(fitted > 0, fitted, best), scheme.scale_type)
        _keep_better(values, heed, trial, points.copy(), scheme, axes, best, points, least)
    return best, points


def _keep_better(
    values: Floats,
    heed: Floats,
    trial: Floats,
    trial_points: Floats,
    scheme: Scheme,
    axes: tuple[int, ...],
    best: Floats,
    points: Floats,
    least: Floats,
) -> None:
    """Takes over, in place, the trial's scales of the groups that err less by them."""
    error = _error(values, heed, trial, trial_points, scheme, axes)
    better = error < least
    for kept, new in ((best, trial), (points, trial_points), (least, error)):
        kept[better] = new[better]


def _scales(low: Floats, high: Floats, scheme: Scheme) -> tuple[Floats, Floats]:
    """Scales, as stored, and zero points of ranges; a group of zeros has the scale 1."""
    number = scheme.number
    if scheme.zero_point:
        width = high / np.float32(number.highest - number.lowest)
        width = width - low / np.float32(number.highest - number.lowest)
    else:
        width = np.maximum(high, -low) / np.float32(number.top)
    scales = stored(np.where(high > low, width, 1).astype(np.float32), scheme.scale_type)
    if not scheme.zero_point:
        return scales, np.full_like(scales, number.centre)
    points = np.clip(np.rint(number.lowest - low / scales), number.lowest, number.highest)
    return scales, points.astype(np.float32)


def _error(
    values: Floats,
    heed: Floats,
    scales: Floats,
    points: Floats,
    scheme: Scheme,
    axes: tuple[int, ...],
) -> Floats:
    difference = (scheme.number.round(values / scales + points) - points) * scales - values
    total: Floats = (heed * difference * difference).sum(axis=axes, keepdims=True)
    return total


def _by_row(groups: Floats, rows: int, k: int) -> Floats:
    """[groups, N] as [K, N]; what is one for all stays as it is."""
    if groups.shape[0] == 1:
        return groups
    repeated: Floats = np.repeat(groups, rows, axis=0)[:k]
    return repeated

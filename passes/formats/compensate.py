"""GPTQ: what rounding one row of a weight does wrong, the rows behind it make good.

Row by row, the error is spread over the rows that are not rounded yet, so that the layer's output
``X W`` changes least on inputs with the given second moments (Frantar et al., arXiv 2210.17323).
Weights that are zero stay zero.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.linalg

from ..errors import ConfpressError
from .matrix import QuantizedMatrix, importance_of_rows, search_scales
from .number import Codes, Floats
from .scheme import Scheme

#: Rows whose errors reach the rows behind them together, in one product.
_ROWS: Final = 128
#: Part of the mean second moment that is added to each, so that the matrix can be inverted.
DAMPING: Final = 0.01


def compensate(
    weight: Floats,
    scheme: Scheme,
    gram: npt.NDArray[np.floating],
    *,
    damping: float = DAMPING,
    name: str = "the matrix",
) -> QuantizedMatrix:
    """Quantises a matrix with compensation.

    Args:
        weight: float32 [K, N]; its rows are summed over.
        scheme: How; scales are found group by group, of rows as they are when their turn comes.
        gram: Σ x·xᵀ of the inputs, [K, K], in any scale.
        damping: See above; more trusts the inputs less.
        name: What the error calls the matrix.

    Raises:
        ConfpressError: The weight holds infinities or NaN, or the second moments do not fit it.
    """
    k, n = weight.shape
    if gram.shape != (k, k) or not np.isfinite(gram).all():
        raise ConfpressError(f"{name} needs finite second moments of {k} inputs.")
    if not np.isfinite(weight).all():
        raise ConfpressError(f"{name} holds infinities or NaN, which no number format can store.")
    spread = _spread(gram, damping)
    heed = importance_of_rows(k, np.diagonal(gram).clip(0))
    rest = weight.copy()
    rows = scheme.rows(k)
    codes = np.empty((k, n), scheme.number.dtype)
    groups: list[tuple[Floats, Floats]] = []
    if scheme.granularity == "tensor":
        groups.append(search_scales(rest[None], heed[None, :, None], scheme, (1, 2)))
    for start in range(0, k, _ROWS):
        stop = min(start + _ROWS, k)
        errors = np.empty((stop - start, n), np.float32)
        for row in range(start, stop):
            if row % rows == 0 and scheme.granularity != "tensor":
                here = slice(row, min(row + rows, k))
                groups.append(search_scales(rest[None, here], heed[None, here, None], scheme, (1,)))
            scales, points = (each[0, 0] for each in groups[-1])
            codes[row], rounded = _rounded(rest[row], weight[row], scheme, scales, points)
            error = (rest[row] - rounded) / spread[row, row]
            rest[row + 1 : stop] -= np.outer(spread[row, row + 1 : stop], error)
            errors[row - start] = error
        rest[stop:] -= spread[start:stop, stop:].T @ errors
    scales = np.concatenate([each[0][0] for each in groups])
    points = np.concatenate([each[1][0] for each in groups])
    typed = points.astype(scheme.number.dtype) if scheme.has_points else None
    return QuantizedMatrix(scheme, codes, scales, typed)


def _spread(gram: npt.NDArray[np.floating], damping: float) -> Floats:
    """The upper Cholesky factor of the inverse of the second moments, float32 [K, K]."""
    moments = gram.astype(np.float64)
    mean = float(np.diagonal(moments).mean())
    moments[np.diag_indices_from(moments)] += damping * mean if mean > 0 else 1.0
    factor = scipy.linalg.cholesky(moments, lower=True, overwrite_a=True, check_finite=False)
    inverse, status = scipy.linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    assert status == 0, "the factor's diagonal is positive"
    upper = scipy.linalg.cholesky(inverse, lower=True, overwrite_a=True, check_finite=False)
    spread: Floats = np.ascontiguousarray(upper.T, np.float32)
    return spread


def _rounded(
    values: Floats, original: Floats, scheme: Scheme, scales: Floats, points: Floats
) -> tuple[Codes, Floats]:
    """Codes of one row and what they mean; what was zero is."""
    number = scheme.number
    kept = np.where(original != 0, values, 0)
    codes = number.encode(kept / scales + points)
    return codes, (number.decode(codes) - points) * scales

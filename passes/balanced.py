"""Balanced choice: the same number in every span of a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]


def highest(scores: Scores, kept: int, span: int) -> Bools:
    """The highest scores of every span of neighbouring columns.

    Args:
        scores: Not negative, [N, K]; of equal ones the first is kept.
        kept: How many are kept.
        span: Of how many; where K is no multiple of it, the last span has fewer.

    Returns:
        bool [N, K].
    """
    order = order_in_spans(scores, span)
    keep = np.zeros(order.shape, np.bool_)
    np.put_along_axis(keep, order[..., :kept], True, axis=2)
    return of_columns(keep, scores.shape[1])


def order_in_spans(scores: Scores, span: int) -> npt.NDArray[np.int64]:
    """The places of the scores in their spans, the highest first, [N, spans, span].

    Columns that fill up the last span come after all others, so that they take no real one's place.
    """
    return np.argsort(-in_spans(scores, span), axis=2, kind="stable")


def in_spans(scores: Scores, span: int) -> Scores:
    """Scores [N, K] as [N, spans, span], -1 beyond the columns."""
    padded = np.pad(scores, ((0, 0), (0, -scores.shape[1] % span)), constant_values=-1)
    return padded.reshape(len(scores), -1, span)


def of_columns(keep: Bools, columns: int) -> Bools:
    """[N, spans, span] as [N, columns], without those that were added."""
    return keep.reshape(len(keep), -1)[:, :columns]

"""Balanced choice: the same number in every span of a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def highest(scores: npt.NDArray[np.floating[Any]], kept: int, span: int) -> npt.NDArray[np.bool_]:
    """The highest scores of every span of neighbouring columns.

    Args:
        scores: Not negative, [N, K]; of equal ones the first is kept.
        kept: How many are kept.
        span: Of how many; where K is no multiple of it, the last span has fewer.

    Returns:
        bool [N, K].
    """
    columns = scores.shape[1]
    # Columns that fill up the last span come after all others, so that they take no one's place.
    padded = np.pad(scores, ((0, 0), (0, -columns % span)), constant_values=-1)
    spans = padded.reshape(len(scores), -1, span)
    order = np.argsort(-spans, axis=2, kind="stable")
    keep = np.zeros(spans.shape, np.bool_)
    np.put_along_axis(keep, order[..., :kept], True, axis=2)
    return keep.reshape(len(scores), -1)[:, :columns]

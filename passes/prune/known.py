"""The domain of the forward analysis: what is known of a value before anything is fed.

A fact about a value is an array of the value's rank whose axes have the value's size or one; NaN
says "depends on the input". An axis of size one says the same of every place on it, so a fact
about a hidden unit over all batches and frames is one number: ``[[[nan, 0.3, nan, …]]]``.

0 · x is taken for 0. That holds for finite activations, as every pruning mask assumes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Fact = npt.NDArray[np.floating[Any]]


def useful(fact: npt.NDArray[Any] | None) -> Fact | None:
    """The fact without infinities, or None if it says nothing."""
    if fact is None:
        return None
    with np.errstate(all="ignore"):
        finite = np.where(np.isfinite(fact), fact, np.nan)
    return None if np.isnan(finite).all() else finite


def unknown(rank: int) -> Fact:
    """Nothing is known of a value of this rank."""
    return np.full((1,) * rank, np.nan)


def fully_known(fact: Fact | None) -> bool:
    """Whether the whole value is constant."""
    return fact is not None and not np.isnan(fact).any()


def collapse(fact: Fact, axis: int) -> Fact:
    """The fact with one axis brought to size one: known where all its places are known equal."""
    if fact.shape[axis] == 1:
        return fact
    first = np.take(fact, [0], axis=axis)
    same = (fact == first).all(axis=axis, keepdims=True)
    return np.where(same, first, np.nan)


def only_axis(fact: Fact | None, axis: int, size: int) -> Fact:
    """What is known of every slice along one axis as one number, [size]."""
    if fact is None:
        return np.full(size, np.nan)
    for other in range(fact.ndim):
        if other != axis % fact.ndim:
            fact = collapse(fact, other)
    return np.broadcast_to(fact.reshape(-1), (size,))


def apply(function: Callable[..., npt.NDArray[Any]], facts: Sequence[Fact]) -> Fact | None:
    """An element-wise function; what is unknown stays unknown."""
    with np.errstate(all="ignore"):
        result = np.asarray(function(*(fact.astype(np.float64) for fact in facts)), np.float64)
    missing = np.zeros(result.shape, bool)
    for fact in facts:
        missing |= np.isnan(fact)
    return useful(np.where(missing, np.nan, result))


def multiply(left: Fact, right: Fact) -> Fact | None:
    """A product: zero where either factor is zero."""
    with np.errstate(all="ignore"):
        result = left.astype(np.float64) * right
    return useful(np.where((left == 0) | (right == 0), 0.0, result))


def contract(fact: Fact, matrix: npt.NDArray[Any]) -> Fact:
    """A vector of which some entries are known, times a matrix.

    Args:
        fact: [K].
        matrix: Constant, [K, N].

    Returns:
        [N]; known where every entry that takes part is known.
    """
    missing = np.isnan(fact)
    # Columns are compared as a whole: no mask of the matrix's size is kept.
    hidden = matrix.any(axis=0) if missing.all() else matrix[missing].any(axis=0)
    result = np.zeros(matrix.shape[1])
    used = ~missing & (np.nan_to_num(fact) != 0)
    if used.any():
        result += fact[used].astype(np.float64) @ matrix[used].astype(np.float64)
    return np.where(hidden, np.nan, result)

"""Compressed sensing of a layer: sparse weights that give the outputs of the dense ones.

What a layer computes from speech is a measurement of its weights, and sparse weights are sought
whose measurement is the same: ``min E|(V - W) x|²`` over weights V with zeros in a pattern. That
which weights are zero and how much their loss disturbs are found together is the idea of pruning
by compressed sensing (Zhen et al., ICASSP 2021; of the paper the aim, as its algorithm is not
public). The solver is the alternating direction method of multipliers with rising penalties and
conjugate gradients on what is kept, as ALPS has it (Meng et al., NeurIPS 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

#: Part of the mean second moment that is added to each, so that no direction is free of cost.
DAMPING: Final = 0.01
#: First penalty, by the second moments' unit diagonal, and by what it grows.
_PENALTY, _GROWTH = 0.1, 1.3
#: So often the kept weights are looked at, at most; it ends when they stay.
_LOOKS, _STEPS_A_LOOK = 100, 3
_GRADIENTS: Final = 20


def sense(
    weight: Floats,
    moments: npt.NDArray[np.floating],
    keep: Callable[[Floats], Bools],
    *,
    damping: float = DAMPING,
) -> Floats:
    """Sparse weights that a layer's outputs change least with.

    Args:
        weight: float32 [N, K]; its columns are summed over.
        moments: Σ x·xᵀ of the inputs, [K, K], in any scale.
        keep: Which weights are kept if these are their scores, not negative, [N, K] to bool
            [N, K]; a pattern's choice of the highest.
        damping: See above; more trusts the inputs less.

    Returns:
        float32 [N, K] with zeros as `keep` leaves them.
    """
    diagonal = np.diagonal(moments).astype(np.float64).clip(0)
    scales = np.sqrt(diagonal + damping * max(float(diagonal.mean()), 1e-30))
    # Inputs of one size: a penalty means the same to all weights.
    unit = (moments / scales[:, None] / scales).astype(np.float32)
    unit[np.diag_indices_from(unit)] = 1.0
    wanted = (weight * scales).astype(np.float32)
    largest = _refit(wanted, unit, keep(np.square(wanted)))
    sensed = _refit(wanted, unit, _support(wanted, unit, keep))
    # The solver promises no optimum: of every row the better of two.
    better = squared_errors(wanted, sensed, unit) < squared_errors(wanted, largest, unit)
    return (np.where(better[:, None], sensed, largest) / scales).astype(np.float32)


def squared_errors(
    wanted: Floats, found: Floats, moments: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """The mean squared errors of outputs, [N], of weights [N, K] by other weights."""
    lost = wanted - found
    errors: npt.NDArray[np.floating] = ((lost @ moments) * lost).sum(axis=1)
    return errors


def _support(wanted: Floats, unit: Floats, keep: Callable[[Floats], Bools]) -> Bools:
    """Which weights to keep, by what their outputs measure, bool [N, K]."""
    values, vectors = np.linalg.eigh(unit)
    outputs = wanted @ unit
    sparse, multipliers = wanted, np.zeros_like(wanted)
    kept = keep(np.square(wanted))
    penalty = np.float32(_PENALTY)
    for _ in range(_LOOKS):
        before = kept
        for _ in range(_STEPS_A_LOOK):
            rotated = (outputs - multipliers + penalty * sparse) @ vectors
            dense = (rotated / (values + penalty)) @ vectors.T
            shifted = dense + multipliers / penalty
            kept = keep(np.square(shifted))
            sparse = shifted * kept
            multipliers += penalty * (dense - sparse)
        if np.array_equal(kept, before):
            break
        penalty *= np.float32(_GROWTH)
    return kept


def _refit(wanted: Floats, unit: Floats, kept: Bools) -> Floats:
    """The kept weights whose outputs are nearest, by preconditioned conjugate gradients."""
    found = wanted * kept
    residual = ((wanted - found) @ unit) * kept
    direction = residual
    error = np.square(residual).sum(axis=1, keepdims=True)
    for _ in range(_GRADIENTS):
        ahead = (direction @ unit) * kept
        step = error / np.maximum((direction * ahead).sum(axis=1, keepdims=True), 1e-30)
        found += step * direction
        residual -= step * ahead
        left = np.square(residual).sum(axis=1, keepdims=True)
        direction = residual + left / np.maximum(error, 1e-30) * direction
        error = left
    return found

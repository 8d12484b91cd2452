"""How far the classes' probabilities of one model are from those of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...runtime.interface import FloatArray

LogProbabilities = npt.NDArray[np.float64]

#: Part of the frames that count. In a few frames the peak of a token moves to the next frame: that
#: changes no word, but outweighs all other frames together, and falls on any layer.
STEADY = 0.9


def log_softmax(scores: FloatArray) -> LogProbabilities:
    """Logarithms of the classes' probabilities, along the last axis."""
    shifted = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    result: LogProbabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def steady_divergence(
    exact: Sequence[LogProbabilities], other: Sequence[LogProbabilities]
) -> float:
    """KL(p ‖ p̂), mean over all frames but the tenth that changes most.

    Args:
        exact: Of every utterance, [..., classes].
        other: The same of the changed model.
    """
    pairs = zip(exact, other, strict=True)
    frames = np.concatenate([(np.exp(p) * (p - q)).sum(-1).reshape(-1) for p, q in pairs])
    steady = np.sort(frames)[: max(int(STEADY * frames.size), 1)]
    return max(float(steady.mean()), 0.0)

"""How far the outputs of two models are apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..passes.errors import ConfpressError
from .interface import FloatArray
from .record import Record
from .runner import Runner

Array = npt.NDArray[Any]


class OutputDifference(Record):
    """One output of two models on one batch, padding left out."""

    output: str = Field(description="name of the output")
    batch: int = Field(description="utterances in the batch")
    frames: int = Field(description="feature frames of the longest utterance")
    max_abs: float = Field(description="largest absolute difference")
    scale: float = Field(description="largest absolute value of the reference")
    sqnr_db: float | None = Field(
        description="signal to quantisation noise in dB, 10·log10(Σa² / Σ(a-b)²); none if equal"
    )
    cosine: float = Field(description="cosine of the angle between the two, as vectors")
    argmax_agreement: float | None = Field(
        description="share of frames with the same best score; none for other outputs"
    )


def compare_outputs(
    reference: Runner, candidate: Runner, batches: Sequence[Sequence[FloatArray]]
) -> tuple[OutputDifference, ...]:
    """Run two models on the same batches and compare every output.

    Args:
        reference: The model that counts as right.
        candidate: The other one.
        batches: Batches of float32 [mels, frames].

    Raises:
        ConfpressError: a model fails, an output is missing, of another shape, or not finite.
    """
    scores = reference.interface.scores
    return tuple(
        found
        for batch in batches
        for found in compare_batch(
            reference.outputs(batch), scores, candidate.outputs(batch), batch
        )
    )


def compare_batch(
    expected: Mapping[str, Sequence[Array]],
    scores: str,
    actual: Mapping[str, Sequence[Array]],
    batch: Sequence[FloatArray],
) -> tuple[OutputDifference, ...]:
    """Compare what two models gave for a batch.

    Args:
        expected: The outputs that count as right, as `Runner.outputs` gives them.
        scores: Which of them holds the scores.
        actual: The outputs of the other one, which may give more.
        batch: float32 [mels, frames] each.

    Raises:
        ConfpressError: an output is missing, of another shape, or not finite.
    """
    for name in expected:
        if name not in actual:
            raise ConfpressError(f"the model compared has no output '{name}'.")
    return tuple(
        difference(name, batch, arrays, actual[name], name == scores)
        for name, arrays in expected.items()
    )


def batch_dependence(runner: Runner, batch: Sequence[FloatArray]) -> OutputDifference:
    """How much the scores of an utterance depend on what runs in the same batch.

    Where the model takes batches of one size only, an utterance alone is a batch of its copies.

    Args:
        runner: The model.
        batch: float32 [mels, frames] each, of different lengths so that there is padding.

    Returns:
        Scores alone (the reference) against scores in the batch.

    Raises:
        ConfpressError: the model fails.
    """
    size = runner.interface.batch or 1
    alone = [runner.scores([features] * size)[0] for features in batch]
    return difference(runner.interface.scores, batch, alone, runner.scores(batch), True)


def difference(
    name: str,
    batch: Sequence[FloatArray],
    expected: Sequence[Array],
    actual: Sequence[Array],
    scores: bool,
) -> OutputDifference:
    """Compare one output of a batch, an array for each utterance.

    Raises:
        ConfpressError: the shapes differ, or a difference is not finite.
    """
    for a, b in zip(expected, actual, strict=True):
        if a.shape != b.shape:
            raise ConfpressError(
                f"output '{name}' is {list(b.shape)} where the reference has {list(a.shape)}."
            )
    a = np.concatenate([np.ravel(x) for x in expected]).astype(np.float64)
    b = np.concatenate([np.ravel(x) for x in actual]).astype(np.float64)
    # Equal infinities, as masked scores have them, are no difference.
    error = np.subtract(a, b, out=np.zeros_like(a), where=a != b)
    if not np.isfinite(error).all():
        raise ConfpressError(f"output '{name}' has infinities or NaN that the reference has not.")
    finite = np.where(np.isfinite(a), a, 0.0)
    other = finite - error
    noise = float(error @ error)
    norms = float(np.linalg.norm(finite) * np.linalg.norm(other))
    return OutputDifference(
        output=name,
        batch=len(batch),
        frames=max(features.shape[1] for features in batch),
        max_abs=float(np.abs(error).max(initial=0.0)),
        scale=float(np.abs(finite).max(initial=0.0)),
        sqnr_db=None if noise == 0.0 else _decibel(float(finite @ finite) / noise),
        cosine=1.0 if noise == 0.0 else float(finite @ other) / max(norms, 1e-300),
        argmax_agreement=_argmax_agreement(expected, actual) if scores else None,
    )


def _decibel(ratio: float) -> float:
    return 10.0 * math.log10(max(ratio, 1e-30))


def _argmax_agreement(expected: Sequence[Array], actual: Sequence[Array]) -> float:
    same = [a.argmax(axis=-1) == b.argmax(axis=-1) for a, b in zip(expected, actual, strict=True)]
    flat = np.concatenate(same)
    return float(flat.mean()) if flat.size else 1.0

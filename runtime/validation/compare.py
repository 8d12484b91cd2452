"""How far the outputs of two models are apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ...passes.errors import ConfpressError
from ..interface import FloatArray, Interface
from ..record import Record
from ..runner import Runner

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


@dataclass
class DifferenceSums:
    """What `OutputDifference` is made of, added up over runs so that no output need be kept.

    Attributes:
        name: Name of the output.
        scores: Whether its last axis holds scores.
    """

    name: str
    scores: bool
    signal: float = 0.0
    noise: float = 0.0
    _other: float = 0.0
    _product: float = 0.0
    _max_abs: float = 0.0
    _scale: float = 0.0
    _frames: int = 0
    _same: int = 0

    def add(self, expected: Sequence[Array], actual: Sequence[Array]) -> None:
        """Adds a run's output, an array for each utterance.

        Raises:
            ConfpressError: the shapes differ, or a difference is not finite.
        """
        for a, b in zip(expected, actual, strict=True):
            self._add(a, b)

    def _add(self, expected: Array, actual: Array) -> None:
        if expected.shape != actual.shape:
            raise ConfpressError(
                f"output '{self.name}' is {list(actual.shape)} where the reference has "
                f"{list(expected.shape)}."
            )
        a, b = (np.ravel(x).astype(np.float64) for x in (expected, actual))
        # Equal infinities, as masked scores have them, are no difference.
        error = np.subtract(a, b, out=np.zeros_like(a), where=a != b)
        if not np.isfinite(error).all():
            raise ConfpressError(
                f"output '{self.name}' has infinities or NaN that the reference has not."
            )
        finite = np.where(np.isfinite(a), a, 0.0)
        other = finite - error
        self.signal += float(finite @ finite)
        self.noise += float(error @ error)
        self._other += float(other @ other)
        self._product += float(finite @ other)
        self._max_abs = max(self._max_abs, float(np.abs(error).max(initial=0.0)))
        self._scale = max(self._scale, float(np.abs(finite).max(initial=0.0)))
        if self.scores:
            same = expected.argmax(axis=-1) == actual.argmax(axis=-1)
            self._frames += same.size
            self._same += int(same.sum())

    @property
    def relative(self) -> float:
        """Root of the noise's share of the signal."""
        return math.sqrt(self.noise / max(self.signal, 1e-300))

    def result(self, batch: Sequence[FloatArray]) -> OutputDifference:
        """The difference over everything that was added.

        Args:
            batch: What one of the runs was fed.
        """
        norms = math.sqrt(self.signal) * math.sqrt(self._other)
        return OutputDifference(
            output=self.name,
            batch=len(batch),
            frames=max(features.shape[1] for features in batch),
            max_abs=self._max_abs,
            scale=self._scale,
            sqnr_db=None if self.noise == 0.0 else _decibel(self.signal / self.noise),
            cosine=1.0 if self.noise == 0.0 else self._product / max(norms, 1e-300),
            argmax_agreement=self._agreement() if self.scores else None,
        )

    def _agreement(self) -> float:
        return self._same / self._frames if self._frames else 1.0


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
    return tuple(
        found
        for batch in batches
        for found in compare_stream(reference, candidate, [batch]).outputs
    )


@dataclass(frozen=True)
class StreamDifference:
    """Two models on the chunks of one stream.

    Attributes:
        outputs: Every output, over all chunks together.
        errors: Chunk by chunk, the error of the scores relative to their size,
            √(Σ(a-b)² / Σa²).
    """

    outputs: tuple[OutputDifference, ...]
    errors: tuple[float, ...]


def compare_stream(
    reference: Runner, candidate: Runner, chunks: Sequence[Sequence[FloatArray]]
) -> StreamDifference:
    """Run two models on the same chunks, each with its own states, and compare every output.

    States whose sizes differ, as a pruned model's do, are left out: what they hold shows in the
    chunks that follow.

    Args:
        reference: The model that counts as right.
        candidate: The other one.
        chunks: Batches of float32 [mels, frames], of one size.

    Raises:
        ConfpressError: a model fails, an output is missing, of another shape, or not finite.
    """
    scores = reference.interface.scores
    resized = _resized_states(reference.interface, candidate.interface)
    sums: dict[str, DifferenceSums] = {}
    errors = []
    for expected, actual in zip(reference.stream(chunks), candidate.stream(chunks), strict=True):
        for name, arrays in expected.items():
            if name in resized:
                continue
            if name not in actual:
                raise ConfpressError(f"the model compared has no output '{name}'.")
            ranked = name == scores and not reference.interface.encoder
            sums.setdefault(name, DifferenceSums(name, ranked)).add(arrays, actual[name])
        chunk = DifferenceSums(scores, scores=False)
        chunk.add(expected[scores], actual[scores])
        errors.append(chunk.relative)
    return StreamDifference(tuple(each.result(chunks[0]) for each in sums.values()), tuple(errors))


def _resized_states(reference: Interface, candidate: Interface) -> set[str]:
    kept = {(state.output, state.shape) for state in candidate.states}
    return {state.output for state in reference.states if (state.output, state.shape) not in kept}


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
    Encoders that subsample a mask (ESPnet's) count more frames of the same utterance where it is
    padded: compared are those that both have.

    Args:
        runner: The model.
        batch: float32 [mels, frames] each, of different lengths so that there is padding.

    Returns:
        Scores alone (the reference) against scores in the batch.

    Raises:
        ConfpressError: the model fails.
    """
    alone = [runner.scores(runner.interface.alone(features))[0] for features in batch]
    pairs = list(zip(alone, runner.scores(batch), strict=True))
    expected = [one[: len(other)] for one, other in pairs]
    actual = [other[: len(one)] for one, other in pairs]
    face = runner.interface
    return difference(face.scores, batch, expected, actual, not face.encoder)


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
    sums = DifferenceSums(name, scores)
    sums.add(expected, actual)
    return sums.result(batch)


def _decibel(ratio: float) -> float:
    return 10.0 * math.log10(max(ratio, 1e-30))

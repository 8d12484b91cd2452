"""Word and character error rates, with bootstrap intervals.

The intervals resample utterances, or speakers where counts are grouped by them (Bisani and Ney
2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation"; Liu and Peng
2020, "Statistical testing on ASR performance via blockwise bootstrap": errors of one speaker go
together, and utterances drawn alone make an interval too narrow). The difference of two systems is
resampled in pairs, so that what makes an utterance hard for both cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
import numpy.typing as npt

from ...passes.errors import ConfpressError

RESAMPLES = 10_000
SEED = 20240607


@dataclass(frozen=True)
class Interval:
    """A 95 % bootstrap interval, as a fraction (0.05 is 5 %)."""

    low: float
    high: float


@dataclass(frozen=True)
class ErrorCounts:
    """Errors per utterance, or per speaker; every array is int64 [utterances or speakers]."""

    reference: npt.NDArray[np.int64]
    substitutions: npt.NDArray[np.int64]
    deletions: npt.NDArray[np.int64]
    insertions: npt.NDArray[np.int64]

    @property
    def errors(self) -> npt.NDArray[np.int64]:
        """Substitutions, deletions and insertions of each utterance."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors divided by the reference's words (or characters), over all utterances."""
        return float(self.errors.sum() / self.reference.sum())

    def grouped(self, groups: Sequence[str]) -> ErrorCounts:
        """The sums of what belongs together, so that intervals draw it together.

        Args:
            groups: Of each utterance, its speaker.
        """
        names, index = np.unique(np.array(groups), return_inverse=True)

        def sums(column: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            total = np.zeros(names.size, np.int64)
            np.add.at(total, index, column)
            return total

        return ErrorCounts(
            sums(self.reference),
            sums(self.substitutions),
            sums(self.deletions),
            sums(self.insertions),
        )

    def interval(self, resamples: int = RESAMPLES, seed: int = SEED) -> Interval:
        """95 % interval of the rate."""
        errors, reference = _resample((self.errors, self.reference), resamples, seed)
        return _interval(errors, reference)

    def difference(
        self, other: ErrorCounts, resamples: int = RESAMPLES, seed: int = SEED
    ) -> Interval:
        """95 % interval of `other.rate - self.rate` over the same utterances.

        Raises:
            ConfpressError: the two were counted against different references.
        """
        if not np.array_equal(self.reference, other.reference):
            raise ConfpressError("two error rates can only be paired on the same utterances.")
        mine, theirs, reference = _resample(
            (self.errors, other.errors, self.reference), resamples, seed
        )
        return _interval(theirs - mine, reference)


def normalise_text(text: str) -> str:
    """Lower case, single spaces."""
    return " ".join(text.lower().split())


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Count word errors per utterance; both sides are lower-cased.

    Raises:
        ConfpressError: there are no references, or not as many as hypotheses.
    """
    _check(references, hypotheses)
    return _collect(
        [
            jiwer.process_words(normalise_text(r), normalise_text(h))
            for r, h in zip(references, hypotheses, strict=True)
        ]
    )


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Count character errors per utterance (spaces count); both sides are lower-cased.

    Raises:
        ConfpressError: there are no references, or not as many as hypotheses.
    """
    _check(references, hypotheses)
    return _collect(
        [
            jiwer.process_characters(normalise_text(r), normalise_text(h))
            for r, h in zip(references, hypotheses, strict=True)
        ]
    )


def _check(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    if len(references) != len(hypotheses):
        raise ConfpressError(
            f"{len(references)} references do not match {len(hypotheses)} hypotheses."
        )
    if not any(normalise_text(reference) for reference in references):
        raise ConfpressError("an error rate needs at least one reference with text.")


def _collect(outputs: Sequence[jiwer.WordOutput | jiwer.CharacterOutput]) -> ErrorCounts:
    def column(values: list[int]) -> npt.NDArray[np.int64]:
        return np.array(values, dtype=np.int64)

    return ErrorCounts(
        reference=column([o.hits + o.substitutions + o.deletions for o in outputs]),
        substitutions=column([o.substitutions for o in outputs]),
        deletions=column([o.deletions for o in outputs]),
        insertions=column([o.insertions for o in outputs]),
    )


def _resample(
    columns: tuple[npt.NDArray[np.int64], ...], resamples: int, seed: int
) -> list[npt.NDArray[np.float64]]:
    """Sums of each column over utterances drawn with replacement, float64 [resamples] each."""
    count = columns[0].size
    generator = np.random.default_rng(seed)
    # How often each utterance is drawn, [resamples, utterances]; sums are then one product.
    weights = generator.multinomial(count, np.full(count, 1.0 / count), size=resamples)
    sums = weights @ np.stack(columns, axis=1)
    return [sums[:, i].astype(np.float64) for i in range(len(columns))]


def _interval(errors: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> Interval:
    """95 % of the resamples' rates; a resample of silent utterances alone has none."""
    spoken = reference > 0
    low, high = np.percentile(errors[spoken] / reference[spoken], [2.5, 97.5])
    return Interval(float(low), float(high))

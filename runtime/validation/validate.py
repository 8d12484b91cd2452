"""Validation: what a changed model says, beside what the original said.

Two kinds of evidence: numbers (every output, at two lengths and two batch sizes) and words (error
rates of both on the same utterances, with a paired bootstrap interval of the difference). Without
reference texts the words are the disagreement: errors of one model against the other's text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from ...passes.errors import ConfpressError
from ..inputs import SpeechSource
from ..interface import FloatArray, Interface
from ..model_file import file_bytes, sha256
from ..recognition.asr import AsrModel, FeatureCache, Transcript, transcribe
from ..recognition.transcripts import SpeechCache
from ..record import Record
from ..runner import Runner
from ..session import DEFAULT_OPTIONS, SessionOptions, create_session
from ..speech.manifest import Utterance
from ..speech.wer import ErrorCounts, Interval, character_errors, word_errors
from .compare import OutputDifference, batch_dependence, compare_outputs
from .streaming import CHUNKS, StreamComparison, StreamSource, compare_streaming

#: Two lengths and two batch sizes: sizes baked in by an exporter show at the second of each.
SECONDS = (3.0, 10.0)
BATCH_SIZES = (1, 3)
_WORST = 10
#: A bootstrap over fewer speakers than these would draw the same few again and again.
LEAST_SPEAKERS = 8


class ModelFile(Record):
    """Which file was run."""

    path: str
    bytes: int = Field(description="size on disk, external data included")
    sha256: str = Field(description="of the model file itself")


class ErrorRate(Record):
    """Word or character errors of one model; rates are fractions (0.05 is 5 %)."""

    rate: float = Field(description="errors divided by the reference's words or characters")
    interval: Interval = Field(description="95 % bootstrap interval of the rate")
    errors: int
    reference: int = Field(description="words or characters of the reference")
    substitutions: int
    deletions: int
    insertions: int


class RateComparison(Record):
    """Error rates of both models on the same utterances."""

    reference: ErrorRate
    candidate: ErrorRate
    difference: float = Field(description="candidate's rate less the reference's")
    difference_interval: Interval = Field(description="paired 95 % bootstrap interval of it")


class UtteranceComparison(Record):
    """One utterance as both models heard it."""

    id: str
    text: str | None = Field(description="what was said, where it is known")
    reference: str = Field(description="what the reference model heard")
    candidate: str = Field(description="what the candidate heard")
    reference_errors: int | None = Field(description="its word errors; none without a text")
    candidate_errors: int = Field(description="word errors, against the text or the reference")


class SpeechComparison(Record):
    """What both models heard in the same utterances."""

    utterances: int
    seconds: float
    changed: int = Field(description="utterances in which the two heard different words")
    drawn: Literal["speakers", "utterances"] = Field(
        description="what the intervals resample: speakers where all are known and enough"
    )
    words: RateComparison | None = Field(description="word error rates; none without texts")
    characters: RateComparison | None = Field(description="character error rates, likewise")
    disagreement: ErrorRate = Field(description="candidate against the reference model's words")
    worst: tuple[UtteranceComparison, ...] = Field(
        description="utterances that lost most, at most ten"
    )


class Validation(Record):
    """Two models on the same data."""

    reference: ModelFile
    candidate: ModelFile
    provider: str
    outputs: tuple[OutputDifference, ...] = Field(description="numbers, by output and batch")
    outputs_skipped: str | None = Field(description="why numbers were not compared")
    batch_dependence: dict[str, OutputDifference] = Field(
        description="`reference`, `candidate`: scores of utterances alone and in a padded batch"
    )
    stream: StreamComparison | None = Field(
        default=None, description="chunk by chunk; none where models take whole utterances"
    )
    speech: SpeechComparison | None = Field(description="words; none without utterances")


def validate(
    reference: AsrModel,
    candidate: AsrModel,
    utterances: Sequence[Utterance] = (),
    *,
    options: SessionOptions = DEFAULT_OPTIONS,
    candidate_options: SessionOptions | None = None,
    seconds: Sequence[float] = SECONDS,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    chunks: int = CHUNKS,
    batch_size: int = 1,
    reference_heard: Sequence[Transcript] | None = None,
    cache: FeatureCache | None = None,
    known: SpeechCache | None = None,
) -> Validation:
    """Compare two models by numbers and by words.

    Streaming models read a long stream and every utterance chunk by chunk, their states carried.

    Args:
        reference: The model that counts as right.
        candidate: The other one.
        utterances: Speech to transcribe; without it, numbers are compared on noise.
        options: How both are run.
        candidate_options: How the other one is run, if not so.
        seconds: Durations at which numbers are compared; not of streaming models.
        batch_sizes: Batch sizes at which numbers are compared.
        chunks: Chunks on which numbers of streaming models are compared.
        batch_size: Utterances that are transcribed together.
        reference_heard: The reference's transcripts, where they are known from an earlier call.
        cache: Features of earlier calls, of the same front end.
        known: What was heard before; it takes up what is heard now.

    Raises:
        ConfpressError: a model cannot be run, audio cannot be read, or outputs are not finite.
    """
    how = (options, candidate_options or options)
    runners = (
        Runner(reference.interface, create_session(reference.path, how[0])),
        Runner(candidate.interface, create_session(candidate.path, how[1])),
    )
    skipped = _why_not_comparable(reference, candidate)
    outputs: tuple[OutputDifference, ...] = ()
    dependence: dict[str, OutputDifference] = {}
    stream = None
    source = SpeechSource(reference.frontend, utterances)
    if skipped is None and reference.interface.states:
        streams = StreamSource(source, runners[0].chunks, chunks)
        sizes = _batch_sizes(batch_sizes, reference.interface)
        outputs, stream = compare_streaming(*runners, streams, sizes, options.threads)
    elif skipped is None:
        durations = _durations(seconds, reference, candidate, runners)
        batches = _batches(source, durations, batch_sizes, reference.interface)
        outputs = compare_outputs(*runners, batches)
        padded = max(batches, key=len)
        if len(padded) > 1 and reference.interface.knows_padding:
            dependence = {
                name: batch_dependence(runner, padded)
                for name, runner in zip(("reference", "candidate"), runners, strict=True)
            }
    speech = None
    if utterances:
        features = cache or FeatureCache(reference.frontend)

        def hear(model: AsrModel, runner: Runner, options: SessionOptions) -> list[Transcript]:
            return transcribe(
                model,
                runner.session,
                utterances,
                batch_size,
                cache=features if model.frontend == features.frontend else None,
                known=known.of(model, options) if known is not None else None,
            )

        before = reference_heard or hear(reference, runners[0], how[0])
        speech = compare_speech(utterances, before, hear(candidate, runners[1], how[1]))
    return Validation(
        reference=describe_file(reference.path),
        candidate=describe_file(candidate.path),
        provider=how[1].provider,
        outputs=outputs,
        outputs_skipped=skipped,
        batch_dependence=dependence,
        stream=stream,
        speech=speech,
    )


def describe_file(path: Path) -> ModelFile:
    """A model file's size and hash."""
    return ModelFile(path=str(path), bytes=file_bytes(path), sha256=sha256(path))


def compare_speech(
    utterances: Sequence[Utterance],
    reference: Sequence[Transcript],
    candidate: Sequence[Transcript],
) -> SpeechComparison:
    """Compare what two models heard.

    Utterances without a text count for the disagreement only.

    Args:
        utterances: What was said.
        reference: What the reference model heard, in the same order.
        candidate: What the candidate heard.

    Raises:
        ConfpressError: the transcripts are not of these utterances, or the reference model heard
            nothing at all.
    """
    heard = [[t.text for t in side] for side in (reference, candidate)]
    if any([t.id for t in side] != [u.id for u in utterances] for side in (reference, candidate)):
        raise ConfpressError("the transcripts compared are not of the same utterances.")
    if not any(heard[0]):
        raise ConfpressError(
            f"the reference model heard no word in {len(utterances)} utterances; "
            "its front end or tokens are not the ones it was trained with."
        )
    disagreement = word_errors(*heard)
    known = [i for i, u in enumerate(utterances) if u.text]
    texts = [str(utterances[i].text) for i in known]
    sides = [[side[i] for i in known] for side in heard]
    words = [word_errors(texts, side) for side in sides] if known else []
    characters = [character_errors(texts, side) for side in sides] if known else []
    speakers = [utterance.speaker for utterance in utterances]
    by_speaker = None not in speakers and len(set(speakers)) >= LEAST_SPEAKERS
    together = [str(name) if by_speaker else str(i) for i, name in enumerate(speakers)]
    texted = [together[i] for i in known]
    return SpeechComparison(
        utterances=len(utterances),
        seconds=sum(u.seconds for u in utterances),
        changed=int((disagreement.errors > 0).sum()),
        drawn="speakers" if by_speaker else "utterances",
        words=_compare_rates(*(side.grouped(texted) for side in words)) if words else None,
        characters=(
            _compare_rates(*(side.grouped(texted) for side in characters)) if characters else None
        ),
        disagreement=error_rate(disagreement.grouped(together)),
        worst=_worst(utterances, heard, words, known, disagreement),
    )


def error_rate(counts: ErrorCounts) -> ErrorRate:
    """Sums over utterances, with the rate's interval."""
    return ErrorRate(
        rate=counts.rate,
        interval=counts.interval(),
        errors=int(counts.errors.sum()),
        reference=int(counts.reference.sum()),
        substitutions=int(counts.substitutions.sum()),
        deletions=int(counts.deletions.sum()),
        insertions=int(counts.insertions.sum()),
    )


def _compare_rates(reference: ErrorCounts, candidate: ErrorCounts) -> RateComparison:
    return RateComparison(
        reference=error_rate(reference),
        candidate=error_rate(candidate),
        difference=candidate.rate - reference.rate,
        difference_interval=reference.difference(candidate),
    )


def _worst(
    utterances: Sequence[Utterance],
    heard: Sequence[Sequence[str]],
    words: Sequence[ErrorCounts],
    known: Sequence[int],
    disagreement: ErrorCounts,
) -> tuple[UtteranceComparison, ...]:
    """The utterances in which the candidate makes the most additional errors."""
    position = {index: place for place, index in enumerate(known)}
    rows = []
    for index, utterance in enumerate(utterances):
        place = position.get(index)
        before, after = (
            (None, int(disagreement.errors[index]))
            if place is None
            else (int(words[0].errors[place]), int(words[1].errors[place]))
        )
        if after > (before or 0):
            rows.append(
                UtteranceComparison(
                    id=utterance.id,
                    text=utterance.text,
                    reference=heard[0][index],
                    candidate=heard[1][index],
                    reference_errors=before,
                    candidate_errors=after,
                )
            )
    rows.sort(key=lambda row: (row.reference_errors or 0) - row.candidate_errors)
    return tuple(rows[:_WORST])


def _why_not_comparable(reference: AsrModel, candidate: AsrModel) -> str | None:
    """Why the two models' numbers mean different things; None if they can be compared."""
    if bool(reference.interface.states) != bool(candidate.interface.states):
        return "one of the models reads chunks, the other whole utterances"
    if reference.frontend != candidate.frontend:
        return "the models have different front ends, so that their inputs differ"
    if reference.tokens != candidate.tokens:
        return "the models have different tokens, so that their scores mean different things"
    sizes = reference.interface.vocabulary, candidate.interface.vocabulary
    if None not in sizes and sizes[0] != sizes[1]:
        return f"the models give {sizes[0]} and {sizes[1]} scores a frame"
    return None


def _durations(
    seconds: Sequence[float],
    reference: AsrModel,
    candidate: AsrModel,
    runners: tuple[Runner, Runner],
) -> list[float]:
    """The durations asked for, none longer than a trimmed position table serves."""
    limits = [
        model.longest_seconds(runner.session)
        for model, runner in zip((reference, candidate), runners, strict=True)
    ]
    longest = min((limit for limit in limits if limit is not None), default=max(seconds))
    return sorted({min(duration, longest) for duration in seconds})


def _batches(
    source: SpeechSource,
    durations: Sequence[float],
    sizes: Sequence[int],
    interface: Interface,
) -> list[list[FloatArray]]:
    """Batches of every duration and size; of different lengths where the model takes lengths."""
    sizes = _batch_sizes(sizes, interface)
    frames = (
        [source.frames(duration) for duration in durations]
        if interface.frames is None
        else [interface.frames]
    )
    ragged = interface.knows_padding
    return [source.batch(count, size, ragged=ragged) for count in frames for size in sizes]


def _batch_sizes(sizes: Sequence[int], interface: Interface) -> Sequence[int]:
    """The sizes asked for, or the only one that the model takes."""
    return sizes if interface.batch is None else [interface.batch]

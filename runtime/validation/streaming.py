"""Validation of streaming models: outputs along a long stream, and the time that a chunk takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from ..benchmark.timing import Ratio, ratio
from ..benchmark.turns import Times, take_turns
from ..chunks import Chunks
from ..inputs import SpeechSource
from ..interface import FloatArray
from ..record import Record
from ..runner import Runner
from .compare import OutputDifference, compare_stream

#: Chunks that are compared, and at either end of them those that tell drift.
CHUNKS = 200
_END = 50
# Neighbouring chunks share states and speech, so that their errors are alike; the means of blocks
# of so many chunks hardly are. Half a 99 % interval of the difference of two means of five blocks
# each is so many standard errors (Student's t, 8 degrees of freedom).
_BLOCK = 10
_INTERVAL = 3.355


class Drift(Record):
    """Whether errors grow along a stream, as they would if states carried them on and on."""

    first: float = Field(description="mean error of the scores in the first chunks")
    last: float = Field(description="mean error in the last chunks")
    noise: float = Field(
        description="half the 99 % interval of the difference of the two, as chunks differ anyway"
    )

    @property
    def grows(self) -> bool:
        """Whether the error of the last chunks is larger by more than the noise."""
        return self.last - self.first > self.noise


class ChunkLatency(Record):
    """Time of one model from features and states to scores and states."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    share: float = Field(description="median time divided by the duration of a chunk")


class StreamComparison(Record):
    """Two streaming models on the same stream, chunk by chunk with carried states."""

    chunks: int = Field(description="how many")
    window: int = Field(description="feature frames that a run reads")
    shift: int = Field(description="feature frames from one chunk to the next")
    seconds: float = Field(description="audio from one chunk to the next")
    threads: int = Field(description="threads of ONNX Runtime")
    errors: tuple[float, ...] = Field(
        description="chunk by chunk, the error of the scores divided by their size, √(Σ(a-b)²/Σa²)"
    )
    drift: Drift | None = Field(description="first and last 50 chunks; none if there are fewer")
    latency: dict[str, ChunkLatency] = Field(
        description="`reference`, `candidate`: chunks of one stream, in turn"
    )
    speedup: Ratio = Field(description="of the candidate, chunk by chunk")


@dataclass(frozen=True)
class StreamSource:
    """Chunks of long streams.

    Attributes:
        source: Where their features come from.
        chunks: How they are cut.
        count: Chunks of a stream.
    """

    source: SpeechSource
    chunks: Chunks
    count: int = CHUNKS

    def batch(self, size: int) -> list[list[FloatArray]]:
        """Several streams side by side: a batch of float32 [mels, window] for every chunk.

        Raises:
            ConfpressError: a recording cannot be read.
        """
        frames = (self.count - 1) * self.chunks.shift + self.chunks.window
        streams = (
            self.chunks.cut(self.source.features(frames, index))[: self.count]
            for index in range(size)
        )
        return [list(chunk) for chunk in zip(*streams, strict=True)]


def compare_streaming(
    reference: Runner,
    candidate: Runner,
    streams: StreamSource,
    sizes: Sequence[int],
    threads: int,
) -> tuple[tuple[OutputDifference, ...], StreamComparison]:
    """Compare two streaming models by numbers, and by the time of a chunk.

    Args:
        reference: The model that counts as right.
        candidate: The other one.
        streams: What both hear.
        sizes: Batch sizes; the errors chunk by chunk and the latency are those of the first, and
            the others hear a quarter of the chunks.
        threads: Threads that both run with, for the record.

    Returns:
        Every output at each batch size, over all chunks; and the rest.

    Raises:
        ConfpressError: a model fails, outputs do not fit or are not finite, or audio cannot be
            read.
    """
    first = streams.batch(sizes[0])
    along = compare_stream(reference, candidate, first)
    outputs = list(along.outputs)
    short = dataclasses.replace(streams, count=max(streams.count // 4, 1))
    for size in sizes[1:]:
        outputs += compare_stream(reference, candidate, short.batch(size)).outputs
    times = _times((reference, candidate), first)
    seconds = streams.chunks.shift * streams.source.frontend.seconds_per_frame
    return tuple(outputs), StreamComparison(
        chunks=streams.count,
        window=streams.chunks.window,
        shift=streams.chunks.shift,
        seconds=seconds,
        threads=threads,
        errors=along.errors,
        drift=drift(along.errors),
        latency={
            name: _latency(row, seconds)
            for name, row in zip(("reference", "candidate"), times, strict=True)
        },
        speedup=ratio(times[0], times[1]),
    )


def drift(errors: Sequence[float]) -> Drift | None:
    """Compare the errors of the first and of the last chunks; None where there are too few."""
    if len(errors) < 2 * _END:
        return None
    first, last = (
        np.reshape(end, (-1, _BLOCK)).mean(axis=1) for end in (errors[:_END], errors[-_END:])
    )
    deviation = np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / first.size)
    return Drift(
        first=float(first.mean()), last=float(last.mean()), noise=float(_INTERVAL * deviation)
    )


def _times(runners: Sequence[Runner], chunks: Sequence[Sequence[FloatArray]]) -> Times:
    """Milliseconds by runner and chunk; the comparison before has warmed both up."""
    running: list[Iterator[object]] = [runner.stream(chunks) for runner in runners]
    calls = [lambda each=each: next(each) for each in running]
    return take_turns(calls, len(chunks), seed=0)


def _latency(times: Times, seconds: float) -> ChunkLatency:
    p50, p90, p99 = (float(p) for p in np.percentile(times, [50, 90, 99]))
    return ChunkLatency(p50_ms=p50, p90_ms=p90, p99_ms=p99, share=p50 / 1e3 / seconds)

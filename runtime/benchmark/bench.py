"""Latency and memory of models, side by side.

The models run in turn within one process, in a new random order each round, because a machine
drifts more between two runs of a program than most models differ. What is compared is therefore
the ratio within a round; absolute times are medians.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from pydantic import Field

from ...passes.errors import ConfpressError
from ..environment import Environment, describe_environment
from ..inputs import SpeechSource
from ..model_file import file_bytes, sha256
from ..progress import progress
from ..recognition.asr import AsrModel
from ..record import Record
from ..session import GraphLevel, Provider, SessionOptions, create_session, run_session
from ..speech.manifest import Utterance
from .bound import bound_call
from .energy import EnergyMeter, measure_energy
from .probe import ProbeRequest, ProbeResult, probe
from .throughput import Throughput, measure_throughput
from .timing import Ratio, ratio
from .turns import Times, take_turns, warm_up

Feeds = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class BenchOptions:
    """What is measured.

    Attributes:
        seconds: Durations of the audio; models of one window read that.
        batches: Batch sizes; every utterance of a batch is equally long.
        threads: Numbers of threads.
        rounds: Timed runs of each model in each case.
        provider: Execution provider; with `cuda` inputs and outputs stay in the GPU's memory.
        cuda_graph: Whether the GPU repeats a recorded run, so that launches take no time.
        kernels: Whether the kernel library is used.
        graph_level: How far ONNX Runtime optimises.
        streams: Numbers of threads that call a session at the same time, for throughput.
        memory: Whether each model is also loaded in a process of its own, for load time and
            memory.
        seed: Of the order, and of noise where there is no speech.
    """

    seconds: tuple[float, ...] = (10.0,)
    batches: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = (1,)
    rounds: int = 20
    provider: Provider = "cpu"
    cuda_graph: bool = False
    kernels: bool = True
    graph_level: GraphLevel = "all"
    streams: tuple[int, ...] = ()
    memory: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("seconds", "batches", "threads"):
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise ConfpressError(f"bench: {name} must be positive numbers, not {list(values)}.")
        if min(self.streams, default=1) < 1:
            raise ConfpressError(f"bench: streams must be positive, not {list(self.streams)}.")
        if self.cuda_graph and self.provider != "cuda":
            raise ConfpressError("bench: CUDA graphs go with the provider cuda.")
        if self.cuda_graph and self.streams:
            raise ConfpressError(
                "bench: streams are not for CUDA graphs, which ONNX Runtime repeats for one thread "
                "alone."
            )
        if self.rounds < 1:
            raise ConfpressError(f"bench: rounds must be at least 1, not {self.rounds}.")

    def session(self, threads: int) -> SessionOptions:
        """How a model is run with so many threads."""
        return SessionOptions(
            provider=self.provider,
            threads=threads,
            kernels=self.kernels,
            graph_level=self.graph_level,
            # Idle threads of one model must not take the processor from the next one.
            config=(("session.force_spinning_stop", "1"),),
            provider_options=(("enable_cuda_graph", "1"),) if self.cuda_graph else (),
        )


class Timing(Record):
    """Run times of one model in one case, in milliseconds."""

    model: str = Field(description="path of the model")
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    rtf: float = Field(description="median run time per second of audio of the whole batch")
    speedup: Ratio | None = Field(description="against the first model; none for itself")
    warm_up_runs: int = Field(description="runs before times had settled, not counted")
    joules: float | None = Field(
        default=None,
        description="mean energy of a run, that of idle cores included; none where the machine "
        "does not tell",
    )
    samples_ms: tuple[float, ...] = Field(description="every timed run, in order of the rounds")


class BenchCase(Record):
    """One duration, batch size and number of threads."""

    seconds: float = Field(description="duration of each utterance")
    frames: int = Field(description="feature frames of each utterance")
    batch: int
    threads: int
    timings: tuple[Timing, ...] = Field(description="in the order the models were given")
    throughput: tuple[Throughput, ...] = Field(
        default=(), description="under parallel streams, where they were asked for"
    )


class BenchModel(Record):
    """What does not depend on the case."""

    model: str = Field(description="path of the model")
    sha256: str = Field(description="of the model file itself")
    bytes: int = Field(description="size on disk, external data included")
    start: ProbeResult | None = Field(
        description="load time and memory in a process of its own, in the first case"
    )


class BenchResult(Record):
    """A benchmark."""

    environment: Environment
    provider: str
    features: str = Field(description="`speech` or `noise`")
    rounds: int
    models: tuple[BenchModel, ...]
    cases: tuple[BenchCase, ...]


def bench(
    models: Sequence[AsrModel],
    options: BenchOptions | None = None,
    utterances: Sequence[Utterance] = (),
) -> BenchResult:
    """Measure models side by side.

    Args:
        models: The models; the first is what the others are compared with.
        options: What to measure.
        utterances: Speech, joined to the durations wanted; without it, noise that resembles it.

    Raises:
        ConfpressError: there is no model, one cannot be run, or audio cannot be read.
    """
    if not models:
        raise ConfpressError("bench needs at least one model.")
    options = options or BenchOptions()
    durations = tuple(dict.fromkeys(models[0].run_seconds(s) for s in options.seconds))
    options = dataclasses.replace(options, seconds=durations)
    environment = describe_environment()
    subjects = [_Subject(m, SpeechSource(m.frontend, utterances, options.seed)) for m in models]
    shapes = [(s, b) for s in options.seconds for b in options.batches]
    turns = (1 + len(options.streams)) * options.rounds * len(models)
    runs = len(options.threads) * len(shapes) * turns
    cases = []
    with progress("Measuring", runs, "runs") as advance:
        for threads in options.threads:
            sessions = [create_session(m.path, options.session(threads)) for m in models]
            for index, (seconds, batch) in enumerate(shapes):
                if options.cuda_graph and index:
                    # What is recorded has one shape.
                    sessions = [create_session(m.path, options.session(threads)) for m in models]
                calls = [
                    _call(session, subject.feeds(seconds, batch), options.provider)
                    for session, subject in zip(sessions, subjects, strict=True)
                ]
                settled = [warm_up(call) for call in calls]
                times = take_turns(calls, options.rounds, options.seed, advance)
                energy = _energy(calls, options)
                case = BenchCase(
                    seconds=seconds,
                    frames=subjects[0].source.frames(seconds),
                    batch=batch,
                    threads=threads,
                    timings=tuple(
                        _timing(
                            model.path, times, index, settled[index], seconds * batch, energy[index]
                        )
                        for index, model in enumerate(models)
                    ),
                    throughput=tuple(
                        measure_throughput(
                            list(zip((str(m.path) for m in models), calls, strict=True)),
                            streams,
                            rounds=options.rounds,
                            batch=batch,
                            seconds=seconds,
                            seed=options.seed,
                            advance=advance,
                        )
                        for streams in options.streams
                    ),
                )
                cases.append(case)
    return BenchResult(
        environment=environment,
        provider=options.provider,
        features="speech" if utterances else "noise",
        rounds=options.rounds,
        models=tuple(_describe(subject, options) for subject in subjects),
        cases=tuple(cases),
    )


@dataclass(frozen=True)
class _Subject:
    """A model and what it is fed."""

    model: AsrModel
    source: SpeechSource

    def feeds(self, seconds: float, batch: int) -> Feeds:
        frames = self.source.frames(seconds)
        return self.model.interface.feeds(self.source.batch(frames, batch))


def _call(session: ort.InferenceSession, feeds: Feeds, provider: Provider) -> Callable[[], object]:
    if provider == "cuda":
        return bound_call(session, feeds)
    return lambda: run_session(session, feeds)


def _energy(calls: Sequence[Callable[[], object]], options: BenchOptions) -> Sequence[float | None]:
    """Joules of a run, in rounds of their own, as reading counters takes time.

    The counters are those of processors, so they say little of a run on a GPU.
    """
    meter = EnergyMeter.of_this_machine() if options.provider == "cpu" else None
    if meter is None:
        return [None] * len(calls)
    return measure_energy(meter, calls, options.rounds, options.seed)


def _timing(
    path: Path, table: Times, index: int, settled: int, seconds: float, joules: float | None
) -> Timing:
    times = table[index]
    p50, p90, p95, p99 = (float(p) for p in np.percentile(times, [50, 90, 95, 99]))
    return Timing(
        model=str(path),
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        mean_ms=float(times.mean()),
        min_ms=float(times.min()),
        rtf=p50 / 1e3 / seconds,
        speedup=ratio(table[0], times) if index else None,
        warm_up_runs=settled,
        joules=joules,
        samples_ms=tuple(round(float(t), 4) for t in times),
    )


def _describe(subject: _Subject, options: BenchOptions) -> BenchModel:
    path = subject.model.path
    return BenchModel(
        model=str(path),
        sha256=sha256(path),
        bytes=file_bytes(path),
        start=_start(subject, options) if options.memory else None,
    )


def _start(subject: _Subject, options: BenchOptions) -> ProbeResult:
    """Load time and memory in the first case."""
    with tempfile.TemporaryDirectory(prefix="confpress-") as folder:
        path = Path(folder) / "feeds.npz"
        feeds = subject.feeds(options.seconds[0], options.batches[0])
        np.savez(path, *feeds.values())
        return probe(
            ProbeRequest(
                model=subject.model.path,
                feeds=path,
                inputs=tuple(feeds),
                provider=options.provider,
                threads=options.threads[0],
                kernels=options.kernels,
                graph_level=options.graph_level,
            )
        )

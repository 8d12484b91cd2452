"""Throughput of models under parallel streams: threads that call one session at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from pydantic import Field

from ..record import Record
from .timing import Ratio, ratio
from .turns import take_turns

# Runs of each stream in a round, so that the end of a round, when streams fall idle, is short.
_RUNS = 4


class StreamRate(Record):
    """What one model gets done under so many streams."""

    model: str = Field(description="path of the model")
    utterances_per_second: float = Field(description="median over the rounds, all streams together")
    audio_per_second: float = Field(description="seconds of audio that are heard in a second")
    speedup: Ratio | None = Field(description="against the first model; none for itself")


class Throughput(Record):
    """Models under the same number of streams, in turn."""

    streams: int = Field(description="threads that call the session at the same time")
    rates: tuple[StreamRate, ...] = Field(description="in the order the models were given")


def measure_throughput(
    runs: Sequence[tuple[str, Callable[[], object]]],
    streams: int,
    *,
    rounds: int,
    batch: int,
    seconds: float,
    seed: int = 0,
    advance: Callable[[float], object] = lambda _: None,
) -> Throughput:
    """Let several threads run each model at once.

    Args:
        runs: Names of the models, and what runs one once; it is called from many threads.
        streams: How many threads.
        rounds: How often each model has its turn.
        batch: Utterances that one run hears.
        seconds: Duration of each.
        seed: Of the order.
        advance: Told after each model's turn that one more is done.
    """
    with ThreadPoolExecutor(streams) as pool:

        def together(run: Callable[[], object]) -> Callable[[], object]:
            def stream(_: int) -> None:
                for _ in range(_RUNS):
                    run()

            return lambda: list(pool.map(stream, range(streams)))

        calls = [together(run) for _, run in runs]
        for call in calls:
            call()
        times = take_turns(calls, rounds, seed, advance)
    rates = _RUNS * streams * batch / (np.median(times, axis=1) / 1e3)
    return Throughput(
        streams=streams,
        rates=tuple(
            StreamRate(
                model=name,
                utterances_per_second=float(rate),
                audio_per_second=float(rate) * seconds,
                speedup=ratio(times[0], times[index]) if index else None,
            )
            for index, ((name, _), rate) in enumerate(zip(runs, rates, strict=True))
        ),
    )

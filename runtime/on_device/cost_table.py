"""How long a model takes on this machine, by duration of the audio and number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import onnxruntime as ort

from ..benchmark.turns import take_turns, warm_up
from ..machine import describe_machine
from .recogniser import Recogniser

# Loudness of the noise that is recognised; the time does not depend on what is said.
_LOUDNESS = 0.1


def cost_table(
    start: Callable[[int], Recogniser],
    seconds: Sequence[float],
    threads: Sequence[int],
    rounds: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Times a model; all durations and numbers of threads take turns within one run.

    Args:
        start: Gives a recogniser of so many threads.
        seconds: Durations of the audio.
        threads: Numbers of threads.
        rounds: Timed runs of each case, after a warm-up until times settle.
        seed: Of the noise and of the order.

    Returns:
        Plain data: the model, the machine, and an entry with percentiles in ms for each case.

    Raises:
        ConfpressError: the model cannot be loaded or fails.
    """
    recognisers = {count: start(count) for count in threads}
    first = recognisers[threads[0]]
    noise = np.random.default_rng(seed)
    feeds = {}
    for length in seconds:
        samples = max(round(length * first.sample_rate), 1)
        audio = _LOUDNESS * noise.standard_normal(samples)
        feeds[length] = first.feeds(audio.astype(np.float32))
    cases = list(product(seconds, threads))
    runs = [_run(recognisers[count], feeds[length]) for length, count in cases]
    warmed = [warm_up(run) for run in runs]
    times = take_turns(runs, rounds, seed)
    return {
        "kind": "confpress-cost-table",
        "schema_version": 1,
        "model": first.manifest["files"][first.manifest["model"]["file"]],
        "target": first.manifest["target"],
        "onnxruntime": ort.__version__,
        "kernels": first.kernels,
        "machine": describe_machine(),
        "entries": [
            {
                "seconds": length,
                "threads": count,
                "warm_up_runs": settled,
                "rounds": rounds,
                "p50_ms": float(np.median(row)),
                "p10_ms": float(np.percentile(row, 10)),
                "p90_ms": float(np.percentile(row, 90)),
                "real_time_factor": float(np.median(row)) / 1e3 / length,
            }
            for (length, count), settled, row in zip(cases, warmed, times)  # noqa: B905 (3.9)
        ],
    }


def _run(recogniser: Recogniser, feeds: dict[str, Any]) -> Callable[[], object]:
    return lambda: recogniser.scores(feeds)

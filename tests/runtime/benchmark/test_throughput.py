from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.benchmark.bench import BenchOptions, BenchResult, bench
from confpress.runtime.benchmark.throughput import measure_throughput
from confpress.runtime.recognition.asr import AsrModel

MakeModel = Callable[..., Path]


def test_streams_run_at_the_same_time_and_all_runs_count() -> None:
    """Three streams meet at a barrier, which a single thread could never pass."""
    barrier, runs = threading.Barrier(3, timeout=10), []

    def run() -> None:
        barrier.wait()
        runs.append(threading.get_ident())
        time.sleep(0.001)

    found = measure_throughput([("a", run)], 3, rounds=2, batch=5, seconds=2.0)
    assert len(set(runs)) == 3
    # A warm-up and two rounds of four runs for each stream.
    assert len(runs) == 3 * 3 * 4
    (rate,) = found.rates
    assert (found.streams, rate.model, rate.speedup) == (3, "a", None)
    assert 0 < rate.utterances_per_second < 3 * 5 / 0.001
    assert rate.audio_per_second == pytest.approx(2 * rate.utterances_per_second)


def test_bench_measures_every_number_of_streams_in_every_case(
    tiny_ctc: Path, make_ctc: MakeModel
) -> None:
    models = [AsrModel.load(tiny_ctc), AsrModel.load(make_ctc("b.onnx"))]
    options = BenchOptions(seconds=(0.2, 0.4), streams=(1, 2), rounds=3, memory=False)
    found = bench(models, options)
    for case in found.cases:
        assert [t.streams for t in case.throughput] == [1, 2]
        for each in case.throughput:
            assert [rate.model for rate in each.rates] == [str(m.path) for m in models]
            assert each.rates[1].speedup is not None
    assert BenchResult.model_validate_json(found.model_dump_json()) == found
    with pytest.raises(ConfpressError, match=r"streams must be positive, not \[0\]"):
        BenchOptions(streams=(0,))

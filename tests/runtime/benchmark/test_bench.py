from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.benchmark.bench import BenchOptions, BenchResult, _energy, bench
from confpress.runtime.benchmark.energy import EnergyMeter
from confpress.runtime.benchmark.probe import ProbeRequest, probe
from confpress.runtime.model_file import load_model, save_model
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.speech import load_utterances

MakeModel = Callable[..., Path]


def test_cases_models_and_environment(
    tiny_ctc: Path, make_ctc: MakeModel, speech_folder: Path
) -> None:
    models = [AsrModel.load(tiny_ctc), AsrModel.load(make_ctc("b.onnx"))]
    options = BenchOptions(seconds=(0.5, 2.0), batches=(1, 2), threads=(1, 2), rounds=4)
    result = bench(models, options, load_utterances(speech_folder))
    shapes = [(c.threads, c.seconds, c.batch, c.frames) for c in result.cases]
    assert shapes == [
        (threads, seconds, batch, int(100 * seconds))
        for threads in (1, 2)
        for seconds in (0.5, 2.0)
        for batch in (1, 2)
    ]
    assert result.features == "speech"
    for case in result.cases:
        assert [t.model for t in case.timings] == [str(m.path) for m in models]
        first, second = case.timings
        assert first.speedup is None
        assert second.speedup is not None
        assert second.speedup.low <= second.speedup.median <= second.speedup.high
        for timing in case.timings:
            samples = np.array(timing.samples_ms)
            assert samples.shape == (4,)
            assert timing.p50_ms == pytest.approx(np.median(samples), rel=1e-3, abs=1e-3)
            assert timing.min_ms <= timing.p50_ms <= timing.p90_ms <= timing.p95_ms <= timing.p99_ms
            assert timing.rtf == pytest.approx(timing.p50_ms / 1e3 / case.seconds / case.batch)
            assert timing.warm_up_runs >= 6
    assert [m.bytes for m in result.models] == [m.path.stat().st_size for m in models]
    assert all(m.start is not None and m.start.load_ms > 0 for m in result.models)
    assert BenchResult.model_validate_json(result.model_dump_json()) == result


def test_external_data_counts_for_the_size(tiny_ctc: Path, tmp_path: Path) -> None:
    path = tmp_path / "external" / "model.onnx"
    save_model(load_model(tiny_ctc), path, external_data=True)
    result = bench([AsrModel.load(path)], BenchOptions(seconds=(0.2,), rounds=1, memory=False))
    assert result.features == "noise"
    assert result.models[0].bytes == sum(p.stat().st_size for p in path.parent.iterdir())
    assert result.models[0].start is None


def test_memory_grows_with_the_weights(make_ctc: MakeModel, tmp_path: Path) -> None:
    """A model whose layers have 70 MB of weights keeps at least as much in memory."""
    small, large = make_ctc("small.onnx"), make_ctc("large.onnx", hidden=200_000)
    feeds = tmp_path / "feeds.npz"
    found = {}
    np.savez(feeds, np.zeros((1, 80, 4), np.float32), np.array([4]))
    for path in (small, large):
        request = ProbeRequest(
            model=path,
            feeds=feeds,
            inputs=("features", "length"),
            provider="cpu",
            threads=1,
            kernels=False,
            graph_level="all",
        )
        found[path] = probe(request)
    if found[small].resident_bytes is None:
        pytest.skip("this system does not tell a process's memory")
    growth = (found[large].resident_bytes or 0) - (found[small].resident_bytes or 0)
    assert 60e6 < growth < 400e6
    assert (found[large].peak_bytes or 0) >= (found[large].resident_bytes or 0)
    # Weights are no part of what the arena can give back.
    assert (found[large].arena_bytes or 0) < 20e6


def test_the_arena_grows_with_the_activations(make_ctc: MakeModel, tmp_path: Path) -> None:
    """50 MB of activations are held for the next run."""
    model, feeds = make_ctc(hidden=4096), tmp_path / "feeds.npz"
    np.savez(feeds, np.zeros((1, 80, 6000), np.float32), np.array([6000]))
    found = probe(
        ProbeRequest(
            model=model,
            feeds=feeds,
            inputs=("features", "length"),
            provider="cpu",
            threads=1,
            kernels=False,
            graph_level="all",
        )
    )
    if found.arena_bytes is None:
        pytest.skip("this system does not tell a process's memory")
    assert 40e6 < found.arena_bytes < 400e6


def test_energy_is_that_of_the_counters(
    tiny_ctc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    for name, text in (("name", "package-0"), ("energy_uj", "5"), ("max_energy_range_uj", "9")):
        (zone / name).write_text(text)
    meter = EnergyMeter.of_this_machine(tmp_path)
    options = BenchOptions(seconds=(0.2,), rounds=3, memory=False)
    model = AsrModel.load(tiny_ctc)
    for found, joules in ((meter, 0.0), (None, None)):
        monkeypatch.setattr(EnergyMeter, "of_this_machine", lambda found=found: found)
        timing = bench([model], options).cases[0].timings[0]
        assert timing.joules == joules


def test_counters_of_processors_are_not_asked_about_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EnergyMeter, "of_this_machine", lambda: pytest.fail("asked"))
    assert _energy([lambda: None], BenchOptions(provider="cuda")) == [None]


def test_streams_are_not_for_cuda_graphs() -> None:
    with pytest.raises(ConfpressError, match="streams are not for CUDA graphs"):
        BenchOptions(provider="cuda", cuda_graph=True, streams=(2,))


def test_a_failing_probe_is_one_sentence(tiny_ctc: Path, tmp_path: Path) -> None:
    feeds = tmp_path / "feeds.npz"
    np.savez(feeds, np.zeros((1, 5, 4), np.float32), np.array([4]))
    request = ProbeRequest(
        model=tiny_ctc,
        feeds=feeds,
        inputs=("features", "length"),
        provider="cpu",
        threads=1,
        kernels=False,
        graph_level="all",
    )
    with pytest.raises(ConfpressError, match=r"in its own process failed: the model fails on"):
        probe(request)


def test_refusals(tiny_ctc: Path) -> None:
    with pytest.raises(ConfpressError, match="at least one model"):
        bench([])
    with pytest.raises(ConfpressError, match="seconds must be positive"):
        BenchOptions(seconds=(0.0,))
    with pytest.raises(ConfpressError, match="threads must be positive"):
        BenchOptions(threads=())
    with pytest.raises(ConfpressError, match="rounds must be at least 1"):
        BenchOptions(rounds=0)

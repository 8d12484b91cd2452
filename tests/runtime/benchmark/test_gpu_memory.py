"""The GPU's memory, with a stand-in for the driver."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from confpress.optimizer.tables import print_benchmark
from confpress.passes.errors import ConfpressError
from confpress.runtime import session
from confpress.runtime.benchmark import probe
from confpress.runtime.benchmark.bench import BenchOptions, bench
from confpress.runtime.benchmark.gpu_memory import GpuMemory, GpuUse, GpuWatch
from confpress.runtime.recognition.asr import AsrModel

from ..kernels.native import require

MakeDriver = Callable[[int], str]
_STEP = 64 << 20


@pytest.fixture
def make_driver(tmp_path: Path) -> MakeDriver:
    """Compiles stand_in_driver.c; the argument is what its cuInit answers."""

    def make(answer: int) -> str:
        require("cc")
        library = tmp_path / "libcuda.so.1"
        source = Path(__file__).with_name("stand_in_driver.c")
        flags = ["-shared", "-fPIC", f"-DFAILS={answer}"]
        subprocess.run(["cc", *flags, source, "-o", library], check=True)
        return str(library)

    return make


def probed(model: Path, folder: Path) -> probe.ProbeResult:
    """The measurement on what passes for a GPU."""
    feeds = folder / "feeds.npz"
    np.savez(feeds, np.zeros((1, 80, 4), np.float32), np.array([4]))
    return probe.measure(
        probe.ProbeRequest(
            model=model,
            feeds=feeds,
            inputs=("features", "length"),
            provider="cuda",
            threads=1,
            kernels=False,
            graph_level="all",
        )
    )


def test_what_is_used_is_what_is_not_free(make_driver: MakeDriver) -> None:
    memory = GpuMemory(make_driver(0))
    assert [memory.used() for _ in range(3)] == [0, _STEP, 2 * _STEP]


def test_the_peak_is_seen_between_two_questions(make_driver: MakeDriver) -> None:
    watch = GpuWatch(GpuMemory(make_driver(0)))
    deadline = time.monotonic() + 20
    while watch.growth() != 2 * _STEP or time.monotonic() < deadline - 19.9:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert watch.growth() == 2 * _STEP
    assert watch.stop() == 9 * _STEP


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_a_probe_tells_the_gpu_memory(
    tiny_ctc: Path, make_driver: MakeDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = GpuMemory(make_driver(0))
    monkeypatch.setitem(session.PROVIDERS, "cuda", "CPUExecutionProvider")
    monkeypatch.setattr(probe, "GpuMemory", lambda: memory)
    found = probed(tiny_ctc, tmp_path)
    assert found.gpu is not None
    assert found.gpu_note is None
    assert 0 < found.gpu.loaded_bytes <= found.gpu.peak_bytes
    assert 0 < found.gpu.held_bytes <= found.gpu.peak_bytes <= 9 * _STEP


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_without_a_driver_the_note_says_so(
    tiny_ctc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(session.PROVIDERS, "cuda", "CPUExecutionProvider")
    monkeypatch.setattr(probe, "GpuMemory", lambda: GpuMemory("libnowhere.so.1"))
    found = probed(tiny_ctc, tmp_path)
    assert found.gpu is None
    assert "is not known, as libnowhere.so.1 cannot be loaded" in str(found.gpu_note)


def test_a_driver_that_refuses_is_one_sentence(make_driver: MakeDriver) -> None:
    with pytest.raises(ConfpressError, match="answers cuInit with error 100"):
        GpuMemory(make_driver(100))


def test_a_library_that_is_no_driver_is_one_sentence() -> None:
    with pytest.raises(ConfpressError, match="has no cuInit"):
        GpuMemory("libc.so.6")


def test_the_table_shows_it_where_it_is_known(
    tiny_ctc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = BenchOptions(seconds=(0.2,), rounds=3, memory=False)
    found = bench([AsrModel.load(tiny_ctc)], options)
    keys = ("loaded_bytes", "peak_bytes", "resident_bytes", "private_bytes", "arena_bytes")
    start = probe.ProbeResult(load_ms=1, first_run_ms=1, **dict.fromkeys(keys))

    def told(**update: object) -> str:
        models = tuple(
            each.model_copy(update={"start": start.model_copy(update=update)})
            for each in found.models
        )
        print_benchmark(found.model_copy(update={"models": models}))
        return " ".join(capsys.readouterr().out.split())

    use = GpuUse(loaded_bytes=1, peak_bytes=345_600_000, held_bytes=234_500_000)
    assert "GPU" not in told()
    assert all(part in told(gpu=use) for part in ("GPU", "345.6", "234.5"))
    assert "The driver is away." in told(gpu_note="the driver is away.")

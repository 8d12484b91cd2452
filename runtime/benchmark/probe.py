"""Load one model in a process of its own and report time and memory (`python -m`).

Memory is only comparable between models where nothing ran before them in the same process.
Reads a `ProbeRequest` as JSON from standard input and writes a `ProbeResult` to standard output.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from pydantic import Field

from ...passes.errors import ConfpressError
from ..memory import give_back_freed
from ..record import Record
from ..session import GraphLevel, Provider, SessionOptions, create_session, run_session
from .gpu_memory import GpuMemory, GpuUse, GpuWatch

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_RUNS = 3


class ProbeRequest(Record):
    """What to load and run."""

    model: Path
    feeds: Path = Field(description="numpy archive with an array for each input, in their order")
    inputs: tuple[str, ...] = Field(description="names of the inputs")
    provider: Provider
    threads: int
    kernels: bool
    graph_level: GraphLevel


class ProbeResult(Record):
    """What loading and running took; bytes are growth over the process before loading."""

    load_ms: float = Field(description="creating the session, the file being in the page cache")
    first_run_ms: float = Field(description="the first run")
    loaded_bytes: int | None = Field(description="resident memory after loading")
    peak_bytes: int | None = Field(description="largest resident memory while loading and running")
    resident_bytes: int | None = Field(description="resident memory after some runs")
    private_bytes: int | None = Field(description="the part of it that is not mapped from files")
    arena_bytes: int | None = Field(
        description="what ONNX Runtime's arena holds between runs, and gives back if asked to"
    )
    gpu: GpuUse | None = Field(
        default=None, description="memory of the GPU; none on another provider"
    )
    gpu_note: str | None = Field(
        default=None, description="why the GPU's memory is not known; none where it is, or unused"
    )


def probe(request: ProbeRequest) -> ProbeResult:
    """Measure in a new process.

    Raises:
        ConfpressError: the model cannot be loaded or run.
    """
    module = f"{__package__}.probe"
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=request.model_dump_json(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"the process ended with code {done.returncode}"
        raise ConfpressError(f"measuring {request.model} in its own process failed: {reason}")
    return ProbeResult.model_validate_json(done.stdout)


def measure(request: ProbeRequest) -> ProbeResult:
    """Measure in this process, which must have done nothing else."""
    with np.load(request.feeds) as archive:
        feeds = {name: archive[f"arr_{i}"] for i, name in enumerate(request.inputs)}
    options = SessionOptions(
        provider=request.provider,
        threads=request.threads,
        kernels=request.kernels,
        graph_level=request.graph_level,
    )
    watch, note = _watch(request.provider)
    before = _memory()
    _reset_peak()
    start = time.perf_counter()
    session = create_session(request.model, options)
    loaded = time.perf_counter()
    after_load = _memory()
    gpu_loaded = watch.growth() if watch else 0
    run_start = time.perf_counter()
    run_session(session, feeds)
    first = time.perf_counter()
    for _ in range(_RUNS):
        run_session(session, feeds)
    after = _memory()
    gpu = watch and GpuUse(
        loaded_bytes=gpu_loaded, held_bytes=watch.growth(), peak_bytes=watch.stop()
    )
    arena = _arena(session, feeds)

    def growth(now: dict[str, int], key: str, base: str | None = None) -> int | None:
        base = base or key
        return now[key] - before[base] if key in now and base in before else None

    return ProbeResult(
        load_ms=(loaded - start) * 1e3,
        first_run_ms=(first - run_start) * 1e3,
        loaded_bytes=growth(after_load, "VmRSS"),
        peak_bytes=growth(after, "VmHWM", "VmRSS"),
        resident_bytes=growth(after, "VmRSS"),
        private_bytes=growth(after, "RssAnon"),
        arena_bytes=arena,
        gpu=gpu,
        gpu_note=note,
    )


def _watch(provider: Provider) -> tuple[GpuWatch | None, str | None]:
    """What follows the GPU's memory, or why nothing does."""
    if provider != "cuda":
        return None, None
    try:
        return GpuWatch(GpuMemory()), None
    except ConfpressError as error:
        return None, str(error)


def _arena(session: ort.InferenceSession, feeds: Mapping[str, npt.NDArray[Any]]) -> int | None:
    """Bytes that a run frees when ONNX Runtime is told to shrink its arena behind it."""
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    give_back_freed()
    held = _memory().get("RssAnon")
    session.run(None, dict(feeds), options)
    give_back_freed()
    left = _memory().get("RssAnon")
    return None if held is None or left is None else max(held - left, 0)


def _memory() -> dict[str, int]:
    """Bytes by name, as Linux accounts for this process; empty elsewhere."""
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    parts = (line.replace(":", " ").split() for line in lines)
    return {p[0]: int(p[1]) * 1024 for p in parts if len(p) == 3 and p[2] == "kB"}


def _reset_peak() -> None:
    """Let the peak start from what is resident now, where the kernel allows it."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return


if __name__ == "__main__":
    try:
        print(measure(ProbeRequest.model_validate_json(sys.stdin.read())).model_dump_json())
    except ConfpressError as error:
        sys.exit(str(error))

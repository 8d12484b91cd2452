"""benchmarks/cuda.py without a GPU: the CPU provider stands under the name of the other."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime import session
from confpress.runtime.benchmark.bench import BenchOptions, BenchResult, bench
from confpress.runtime.recognition.asr import AsrModel

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("cuda")


@pytest.fixture
def on_layers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("cuda_layers")


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_a_layer_that_runs_by_its_body_is_not_timed(
    on_layers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(session.PROVIDERS, "cuda", "CPUExecutionProvider")
    assert on_layers.check("int8", [(64, 16)], [1, 3], "cuda") == [0, 0]
    with pytest.raises(ConfpressError, match="SparseLinearHalf ran by its body"):
        on_layers.check("sparse float16 90%", [(64, 16)], [1], "cuda")


def test_a_layer_that_fails_leaves_the_others(
    on_layers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = on_layers.create_session

    def some(model: Any, options: session.SessionOptions) -> Any:
        if model.functions:
            raise ConfpressError("no")
        return create(model, options)

    monkeypatch.setattr(on_layers, "create_session", some)
    names = ("float32", "float16", "int8")
    (timing,) = on_layers.measure(
        64, 16, [3], names=names, rounds=3, provider="cpu", graph=False, peaks=None
    )
    assert timing.failed == {"int8": "no"}
    assert list(timing.speed_up) == ["float32", "float16"]


def test_what_ends_a_process_is_a_reason(benchmark: ModuleType) -> None:
    assert benchmark.apart(os._exit, 3)[1].startswith("its process ended")


def test_a_report_is_complete_after_every_step(benchmark: ModuleType, tmp_path: Path) -> None:
    report = benchmark.Report(tmp_path)
    report.put("a", 1, "# A", "old")
    report.put("b", 2, "# B")
    report.put("a", 3, "# A", "new")
    assert json.loads((tmp_path / "cuda.json").read_text()) == {"a": 3, "b": 2}
    assert (tmp_path / "cuda.md").read_text() == "# A\nnew\n\n# B\n"


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_why_a_model_is_timed_without_a_cuda_graph_is_told(
    benchmark: ModuleType, tiny_ctc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_graphs(models: Sequence[AsrModel], options: BenchOptions) -> BenchResult:
        if options.cuda_graph:
            raise ConfpressError("no graph")
        return bench(models, dataclasses.replace(options, provider="cpu"))

    monkeypatch.setattr(benchmark, "bench", no_graphs)
    monkeypatch.setattr(benchmark, "apart", benchmark.attempt)
    monkeypatch.setitem(session.PROVIDERS, "cuda", "CPUExecutionProvider")
    original = AsrModel.load(tiny_ctc)
    job = benchmark.Job(original, tmp_path, "cuda", 3, ((0.3, 1),), benchmark.Report(tmp_path))
    benchmark.whole(job, [("float32", original, ""), ("int8", None, "no operator")])
    text = (tmp_path / "cuda.md").read_text()
    assert "float32, 1 × 0.3 s: with a CUDA graph: no graph" in text
    assert " ms | All " in text
    assert "| int8 |  | no operator |" in text

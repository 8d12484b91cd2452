"""A stored benchmark beside a new one."""

from __future__ import annotations

from pathlib import Path

import pytest
from confpress.optimizer.report.bench_compare import compare_benchmarks, load_benchmark
from confpress.passes.errors import ConfpressError
from confpress.runtime.benchmark.bench import BenchOptions, BenchResult, bench
from confpress.runtime.benchmark.timing import Ratio
from confpress.runtime.recognition.asr import AsrModel

from ..conftest import Confpress

OPTIONS = BenchOptions(seconds=(0.5,), rounds=3, memory=False)


@pytest.fixture
def found(tiny_ctc: Path) -> BenchResult:
    model = AsrModel.load(tiny_ctc)
    return bench([model, model], OPTIONS)


def with_speedup(result: BenchResult, low: float, high: float) -> BenchResult:
    ratio = Ratio(median=low, low=low, high=high, quartiles=(low, high), different=True)
    (case,) = result.cases
    first, second = case.timings
    second = second.model_copy(update={"speedup": ratio})
    return result.model_copy(
        update={"cases": (case.model_copy(update={"timings": (first, second)}),)}
    )


@pytest.mark.parametrize(
    ("then", "different"), [((1.1, 1.2), True), ((0.9, 1.02), False), ((0.5, 0.6), True)]
)
def test_apart_beyond_the_noise_or_not(
    found: BenchResult, then: tuple[float, float], different: bool
) -> None:
    (change,) = compare_benchmarks(with_speedup(found, *then), with_speedup(found, 0.95, 1.05))
    assert change.different == different


def test_what_cannot_be_compared_is_refused(found: BenchResult, tmp_path: Path) -> None:
    other = found.models[0].model_copy(update={"sha256": "0"})
    with pytest.raises(ConfpressError, match="another first model"):
        compare_benchmarks(found.model_copy(update={"models": (other, *found.models[1:])}), found)
    case = found.cases[0].model_copy(update={"seconds": 7.0})
    with pytest.raises(ConfpressError, match="no speed-up in common"):
        compare_benchmarks(found.model_copy(update={"cases": (case,)}), found)
    with pytest.raises(ConfpressError, match=r"cannot read .*: No such file"):
        load_benchmark(tmp_path / "none.json")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ConfpressError, match=r"is no benchmark that"):
        load_benchmark(tmp_path / "x.json")


def test_the_command_compares(confpress: Confpress, tiny_ctc: Path, tmp_path: Path) -> None:
    file = tmp_path / "stored.json"
    arguments = ("bench", tiny_ctc, tiny_ctc, "--seconds", 0.5, "--rounds", 3)
    assert confpress(*arguments, "--json", file).status == 0
    done = confpress(*arguments, "--compare", file)
    assert done.status == 0, done.err
    assert "against the stored benchmark" in done.out
    assert "beyond the noise" in done.out

"""A benchmark beside a stored one: which speed-ups changed by more than the noise.

Times of two runs are not compared: a machine differs between runs by more than most models do.
What is compared is each model's speed-up over the first model, which ran in turn with it in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...passes.errors import ConfpressError
from ...runtime.benchmark.bench import BenchCase, BenchResult
from ...runtime.benchmark.timing import Ratio
from ...runtime.record import read_record


@dataclass(frozen=True)
class Change:
    """One model in one case.

    Attributes:
        case: Duration, batch and threads in words.
        model: The model, by its place in this run.
        then: Its speed-up in the stored run.
        now: Its speed-up in this run.
    """

    case: str
    model: str
    then: Ratio
    now: Ratio

    @property
    def different(self) -> bool:
        """Whether the two 95 % intervals have nothing in common."""
        return self.now.low > self.then.high or self.now.high < self.then.low


def load_benchmark(path: Path) -> BenchResult:
    """Reads what `bench --json` wrote.

    Raises:
        ConfpressError: there is no such file, or it is no benchmark.
    """
    return read_record(BenchResult, path, "benchmark that `bench --json` wrote")


def compare_benchmarks(stored: BenchResult, found: BenchResult) -> list[Change]:
    """Pairs models by their place and cases by their sizes.

    Raises:
        ConfpressError: the first models are not the same file, or no case is in both.
    """
    if stored.models[0].sha256 != found.models[0].sha256:
        raise ConfpressError(
            "the stored benchmark compares with another first model, so that its speed-ups mean "
            "something else; give the same first MODEL."
        )
    before = {_sizes(case): case for case in stored.cases}
    changes = [
        Change(_words(case), now.model, then.speedup, now.speedup)
        for case in found.cases
        if _sizes(case) in before
        for then, now in zip(before[_sizes(case)].timings, case.timings, strict=False)
        if then.speedup is not None and now.speedup is not None
    ]
    if not changes:
        raise ConfpressError(
            "the stored benchmark and this one have no speed-up in common: give at least two "
            "models, and the durations, batches and threads of the stored one."
        )
    return changes


def _sizes(case: BenchCase) -> tuple[float, int, int]:
    return case.seconds, case.batch, case.threads


def _words(case: BenchCase) -> str:
    return f"{case.seconds:g} s, batch {case.batch}, threads {case.threads}"

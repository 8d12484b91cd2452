from __future__ import annotations

import itertools

import numpy as np
import pytest
from confpress.runtime.benchmark import turns
from confpress.runtime.benchmark.turns import take_turns, warm_up


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only moves when a test adds to its one entry."""
    now = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])
    return now


def test_every_round_runs_everything_once_in_changing_order(clock: list[float]) -> None:
    order: list[int] = []

    def run(which: int, seconds: float) -> None:
        order.append(which)
        clock[0] += seconds

    runs = [lambda: run(0, 0.010), lambda: run(1, 0.020), lambda: run(2, 0.030)]
    done: list[float] = []
    times = take_turns(runs, 12, seed=0, advance=done.append)
    assert np.allclose(times, np.array([[10.0], [20.0], [30.0]]) * np.ones((3, 12)))
    rounds = [tuple(order[i : i + 3]) for i in range(0, 36, 3)]
    assert all(sorted(r) == [0, 1, 2] for r in rounds)
    assert len(set(rounds)) > 2
    assert len(done) == 36
    order.clear()
    take_turns(runs, 12, seed=0)
    assert [tuple(order[i : i + 3]) for i in range(0, 36, 3)] == rounds


def test_warm_up_ends_when_times_settle(clock: list[float]) -> None:
    falling = itertools.chain([10, 9, 8, 5, 4, 3], itertools.repeat(2.0))

    def run() -> None:
        clock[0] += next(falling)

    assert warm_up(run) == 12


def test_warm_up_gives_up_on_times_that_never_settle(clock: list[float]) -> None:
    growing = itertools.count(1)

    def run() -> None:
        clock[0] += 2.0 ** next(growing)

    assert warm_up(run) == 24

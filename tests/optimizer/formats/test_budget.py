"""Budgets: the solver against trying everything, and limits that cannot be kept."""

from __future__ import annotations

import itertools

import pytest
from confpress.optimizer.formats.budget import Limits, Option, allocate
from confpress.passes.errors import ConfpressError
from confpress.passes.format_plan import LayerFormat
from hypothesis import given, settings
from hypothesis import strategies as st

FORMS = [LayerFormat(weight=name) for name in ("float32", "int8", "int4")]
LAYERS = st.lists(
    st.lists(
        st.tuples(st.floats(0, 10), st.integers(1, 1000)), min_size=len(FORMS), max_size=len(FORMS)
    ),
    min_size=1,
    max_size=4,
)


def options_of(layers: list[list[tuple[float, int]]]) -> dict[str, list[Option]]:
    return {
        str(index): [Option(f, e, b) for f, (e, b) in zip(FORMS, each, strict=True)]
        for index, each in enumerate(layers)
    }


@given(layers=LAYERS, share=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_the_solver_finds_what_trying_everything_finds(
    layers: list[list[tuple[float, int]]], share: float
) -> None:
    options = options_of(layers)
    least, most = (sum(pick(b for _, b in each) for each in layers) for pick in (min, max))
    limit = int(least + share * (most - least))
    found = allocate(options, Limits(bytes=limit))
    best = min(
        sum(e for e, _ in chosen)
        for chosen in itertools.product(*layers)
        if sum(b for _, b in chosen) <= limit
    )
    assert found.bytes <= limit
    assert found.error <= best + 1e-3 * max(best, max(e for each in layers for e, _ in each))


def test_the_fewest_bytes_within_an_error() -> None:
    options = options_of([[(0, 400), (1, 100), (5, 50)], [(0, 400), (2, 100), (9, 50)]])
    found = allocate(options, Limits(error=3.5))
    assert (found.bytes, found.error) == (200, 3.0)
    assert found.plan.layers == {"0": FORMS[1], "1": FORMS[1]}


def test_an_impossible_limit_says_what_is_possible() -> None:
    options = options_of([[(0, 400), (1, 100), (5, 50)]])
    with pytest.raises(ConfpressError, match=r"within 40 bytes of weights.* possible is 50"):
        allocate(options, Limits(bytes=40))


def test_two_limits_hold_together() -> None:
    costs = [(0, 400, 4.0), (1, 100, 3.0), (5, 50, 1.0)]
    options = {
        name: [Option(f, *each) for f, each in zip(FORMS, costs, strict=True)] for name in "ab"
    }
    found = allocate(options, Limits(bytes=450, milliseconds=6.0))
    assert (found.bytes, found.milliseconds, found.error) == (200, 6.0, 2.0)
    with pytest.raises(ConfpressError, match=r"possible is 100 bytes.* and 2 ms"):
        allocate(options, Limits(bytes=450, milliseconds=1.0))


def test_what_cannot_be_chosen_for_is_said() -> None:
    with pytest.raises(ConfpressError, match="there is no layer"):
        allocate({}, Limits(bytes=1))

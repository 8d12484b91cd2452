"""Formats under a budget: a multiple-choice knapsack, solved exactly by HiGHS (scipy's milp)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, vstack

from ..passes.errors import ConfpressError
from ..passes.format_plan import FormatPlan, LayerFormat

#: Relative distance to the optimum at which the solver may stop, and its time limit in seconds.
_GAP = 1e-4
_SECONDS = 60.0


@dataclass(frozen=True)
class Option:
    """One format for one layer.

    Attributes:
        form: The format.
        error: What it costs in error; the sum over layers is made least, or limited.
        bytes: What the weight takes in it.
    """

    form: LayerFormat
    error: float
    bytes: int


@dataclass(frozen=True)
class Allocation:
    """A solved budget.

    Attributes:
        plan: The format of every layer.
        error: The sum of the layers' errors.
        bytes: The sum of their bytes.
    """

    plan: FormatPlan
    error: float
    bytes: int


def allocate(
    options: Mapping[str, Sequence[Option]],
    *,
    max_bytes: int | None = None,
    max_error: float | None = None,
) -> Allocation:
    """Chooses one option a layer.

    Args:
        options: By layer id.
        max_bytes: The least error within this many bytes.
        max_error: The fewest bytes within this error; exactly one of the two is given.

    Raises:
        ConfpressError: There is no layer, or no choice stays within the limit.
    """
    if (max_bytes is None) == (max_error is None):
        raise ValueError("exactly one limit is needed")
    if not options:
        raise ConfpressError(
            "there is no layer to choose a format for: all are excluded, or hold codes already."
        )
    flat = [(layer, option) for layer, each in options.items() for option in each]
    error = np.array([option.error for _, option in flat])
    size = np.array([option.bytes for _, option in flat], np.float64)
    goal, limited, limit = (
        (error, size, float(max_bytes)) if max_bytes is not None else (size, error, max_error)
    )
    assert limit is not None, "one of the two is given"
    # Both in units of their largest sum, so that the solver's tolerances mean something.
    goal_unit, limit_unit = (max(float(each.max(initial=0)), 1e-30) for each in (goal, limited))
    layers = list(options)
    row = [layers.index(layer) for layer, _ in flat]
    once = csr_array((np.ones(len(flat)), (row, np.arange(len(flat)))), (len(layers), len(flat)))
    result = milp(
        goal / goal_unit,
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(
            vstack([once, csr_array(limited[None] / limit_unit)]),
            np.r_[np.ones(len(layers)), -np.inf],
            np.r_[np.ones(len(layers)), limit / limit_unit],
        ),
        options={"mip_rel_gap": _GAP, "time_limit": _SECONDS},
    )
    if result.x is None:
        least = sum(min(_measure(o, max_bytes) for o in each) for each in options.values())
        unit = "bytes of weights" if max_bytes is not None else "error"
        raise ConfpressError(
            f"no choice of formats stays within {limit:g} {unit}: the least possible is {least:g}."
        )
    taken = [pair for pair, chosen in zip(flat, result.x, strict=True) if chosen > 0.5]
    return Allocation(
        FormatPlan(layers={layer: option.form for layer, option in taken}),
        sum(option.error for _, option in taken),
        sum(option.bytes for _, option in taken),
    )


def _measure(option: Option, max_bytes: int | None) -> float:
    return option.bytes if max_bytes is not None else option.error

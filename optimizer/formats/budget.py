"""Formats under a budget: a multiple-choice knapsack, solved exactly by HiGHS (scipy's milp)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, vstack

from ...passes.errors import ConfpressError
from ...passes.format_plan import FormatPlan, LayerFormat

#: Relative distance to the optimum at which the solver may stop, and its time limit in seconds.
_GAP = 1e-4
_SECONDS = 60.0
#: What limits are in.
_UNITS = {"bytes": "bytes of weights", "milliseconds": "ms of linear layers", "error": "error"}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Option:
    """One format for one layer.

    Attributes:
        form: The format.
        error: What it costs in error; the sum over layers is made least, or limited.
        bytes: What the weight takes in it.
        milliseconds: What the layer takes in it.
    """

    form: LayerFormat
    error: float
    bytes: int
    milliseconds: float = 0.0


@dataclass(frozen=True)
class Limits:
    """What sums over all layers must not exceed; None is no limit, and one is needed.

    With a limit of the error the bytes are made least, otherwise the error.
    """

    bytes: int | None = None
    milliseconds: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Allocation:
    """A solved budget.

    Attributes:
        plan: The format of every layer.
        error: The sum of the layers' errors.
        bytes: The sum of their bytes.
        milliseconds: The sum of their times.
    """

    plan: FormatPlan
    error: float
    bytes: int
    milliseconds: float


def allocate(options: Mapping[str, Sequence[Option]], limits: Limits) -> Allocation:
    """Chooses one option a layer.

    Args:
        options: By layer id.
        limits: What the choice has to keep.

    Raises:
        ConfpressError: There is no layer, or no choice stays within the limits.
    """
    if not options:
        raise ConfpressError(
            "there is no layer to choose a format for: all are excluded, or hold codes already."
        )
    flat = [(layer, option) for layer, each in options.items() for option in each]
    layers = {layer: row for row, layer in enumerate(options)}
    rows = [layers[layer] for layer, _ in flat]
    once = csr_array((np.ones(len(flat)), (rows, np.arange(len(flat)))), (len(layers), len(flat)))
    given = {name: limit for name, limit in vars(limits).items() if limit is not None}
    if not given:
        raise ValueError("a limit is needed")
    goal, _ = _measures(flat, "bytes" if limits.error is not None else "error")
    sums = [(*_measures(flat, name), limit) for name, limit in given.items()]
    result = milp(
        goal,
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(
            vstack([once, csr_array([each for each, _, _ in sums])]),
            np.r_[np.ones(len(layers)), np.full(len(sums), -np.inf)],
            np.r_[np.ones(len(layers)), [limit / unit for _, unit, limit in sums]],
        ),
        options={"mip_rel_gap": _GAP, "time_limit": _SECONDS},
    )
    if result.x is None:
        wanted = " and ".join(f"{limit:g} {_UNITS[name]}" for name, limit in given.items())
        least = " and ".join(f"{_least(options, name):g} {_UNITS[name]}" for name in given)
        apart = "" if len(given) == 1 else ", each without the other"
        raise ConfpressError(
            f"no choice of formats stays within {wanted}: the least possible is {least}{apart}."
        )
    taken = [pair for pair, chosen in zip(flat, result.x, strict=True) if chosen > 0.5]
    return Allocation(
        FormatPlan(layers={layer: option.form for layer, option in taken}),
        sum(option.error for _, option in taken),
        sum(option.bytes for _, option in taken),
        sum(option.milliseconds for _, option in taken),
    )


def _measures(flat: Sequence[tuple[str, Option]], name: str) -> tuple[Floats, float]:
    """What options cost, in units of the largest, so that the solver's tolerances mean something.

    Returns:
        The costs, and the unit.
    """
    costs = np.array([getattr(option, name) for _, option in flat], np.float64)
    unit = float(costs.max(initial=0)) or 1.0
    return costs / unit, unit


def _least(options: Mapping[str, Sequence[Option]], name: str) -> float:
    return sum(min(float(getattr(each, name)) for each in choice) for choice in options.values())

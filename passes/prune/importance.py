"""Which units, heads and channels matter least, by what calibration saw of them.

A part's share in its module's output is ``Σ_j∈part E[a_j²] · ‖W[j]‖²`` (activation-based
saliency), taken relative to the whole module's, so that modules can be compared, and by stored
parameter, so that a head and a unit can be.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import ConfpressError
from ..structure import Kind, Module, Structure
from .plan import PARTS, Cut, Plan, count_parts, prunable
from .weights import features_of, last_linear, matrix_of

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Moments:
    """What calibration saw of the inputs of a module's last linear layer.

    Attributes:
        mean: E[a], [features].
        gram: E[a aᵀ], [features, features].
    """

    mean: Floats
    gram: Floats


@dataclasses.dataclass(frozen=True)
class Keep:
    """How much stays.

    Attributes:
        overall: Share of the parts' parameters that stays, for kinds without a share of their own.
        units: Share of feed-forward units.
        heads: Share of heads.
        channels: Share of convolution channels.
        floor: Least share of a module's parts that stays.
    """

    overall: float = 1.0
    units: float | None = None
    heads: float | None = None
    channels: float | None = None
    floor: float = 0.25

    def __post_init__(self) -> None:
        for name, share in dataclasses.asdict(self).items():
            if share is not None and not 0 < share <= 1:
                raise ConfpressError(f"{name} is a share above 0 and up to 1, not {share:g}.")


@dataclasses.dataclass(frozen=True)
class _Part:
    module: Module
    index: int
    score: float
    cost: int


def watched_values(structure: Structure) -> dict[str, tuple[str, int]]:
    """What calibration has to watch: name of the value and its channel axis, by module id."""
    watched = {}
    for module in prunable(structure):
        linear = last_linear(module)
        watched[module.id] = (str(linear.input.name), 1 if linear.channels_first else -1)
    return watched


def scores(module: Module, moments: Moments) -> Floats:
    """Every part's share in the energy of the module's output, [parts]."""
    energy = np.diag(moments.gram) * (matrix_of(last_linear(module)).astype(np.float64) ** 2).sum(1)
    parts = energy.reshape(count_parts(module), -1).sum(axis=1)
    return np.asarray(parts / max(parts.sum(), np.finfo(np.float64).tiny))


def choose(structure: Structure, moments: Mapping[str, Moments], keep: Keep) -> Plan:
    """Chooses what goes: the parts of least importance by parameter, under a floor per module.

    Args:
        structure: Of the simplified model.
        moments: What calibration saw, by module id; modules without are left alone.
        keep: How much stays.
    """
    chosen: dict[str, list[int]] = {}
    pools: dict[str, list[_Part]] = {}
    for module in prunable(structure):
        if module.id in moments:
            own = getattr(keep, PARTS[module.kind])
            pool = "overall" if own is None else PARTS[module.kind]
            pools.setdefault(pool, []).extend(_parts(module, moments[module.id]))
    for pool, parts in pools.items():
        budget = _share(sum(part.cost for part in parts), 1 - getattr(keep, pool))
        for part in sorted(parts, key=lambda each: each.score / each.cost):
            gone = chosen.setdefault(part.module.id, [])
            most = _share(count_parts(part.module), 1 - keep.floor)
            if part.cost <= budget and len(gone) < most:
                gone.append(part.index)
                budget -= part.cost
    cuts: dict[str, Literal["drop"] | Cut] = {}
    for module in prunable(structure):
        if chosen.get(module.id):
            which = tuple(sorted(chosen[module.id]))
            cuts[module.id] = Cut.model_validate({PARTS[module.kind]: which})
    return Plan(cuts)


def _share(whole: int, share: float) -> int:
    """The whole number in a share: two of 20 at 1 - 0.9, which is a little less than a tenth."""
    return int(whole * share + 1e-6)


def _parts(module: Module, moments: Moments) -> list[_Part]:
    cost = _cost(module)
    return [_Part(module, i, float(s), cost) for i, s in enumerate(scores(module, moments))]


def _cost(module: Module) -> int:
    """Parameters of one part; those of its inputs are counted by the layers before."""
    last = last_linear(module)
    before = [layer for layer in module.linears if layer is not last]
    stored = sum(layer.in_features * layer.out_features for layer in before)
    if module.kind is Kind.CONVOLUTION:
        stored += module.convolution.channels * module.convolution.kernel
    width = features_of(module, [0]).size
    return stored // count_parts(module) + width * last.out_features

"""The steps of pruning, each with the proof that removal changed nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ..passes.base import InPlacePass, PassResult, run
from ..passes.errors import ConfpressError
from ..passes.prune import (
    ApplyPlan,
    Keep,
    Moments,
    Plan,
    RemovePruned,
    RepairPlan,
    choose,
    mask_plan,
    watched_values,
)
from ..passes.rewrites.simplify import Simplify
from ..passes.structure import Recognise, recognise
from ..runtime.calibration.calibrate import Observed, calibrate
from ..runtime.inputs import synthetic_features
from ..runtime.interface import Array, FloatArray, Interface
from ..runtime.memory import give_back_freed
from ..runtime.runner import Runner
from ..runtime.session import SessionOptions
from ..runtime.validation.compare import compare_batch
from .recipe.recipe import ProofSection

#: ONNX Runtime's own fusions move the outputs of deep models; only ours are to be seen.
_EXACT = SessionOptions(graph_level="disabled")

#: Of a streaming model, so that what the first leaves in the states reaches the scores.
_CHUNKS = 3

Pass = ir.passes.PassBase


def simplified(model: ir.Model) -> None:
    """Simplifies a model and names its layers, so that plans and reports can speak of them."""
    run([Simplify(), Recognise()], model)


def masked_steps(model: ir.Model, tolerance: float) -> list[Pass]:
    """Removal of what is in the file.

    Args:
        model: The simplified model.
        tolerance: Largest difference allowed, relative to the largest absolute output.
    """
    return [RemovePruned(), SameOutputs.as_of(model, tolerance)]


def planned_steps(model: ir.Model, plan: Plan, tolerance: float) -> list[Pass]:
    """Pruning by a plan; the outputs must be those of the model with the plan's zeros in it.

    Raises:
        ConfpressError: the plan does not fit the model, or a cut cannot be carried out.
    """
    masked = model.clone()
    mask_plan(masked, plan)
    return [ApplyPlan(plan), SameOutputs.as_of(masked, tolerance)]


def chosen_steps(
    model: ir.Model,
    keep: Keep,
    moments: dict[str, Moments],
    tolerance: float,
    *,
    repair: bool = True,
) -> list[Pass]:
    """Pruning by importance, with the repair of what remains."""
    plan = choose(recognise(model), moments, keep)
    if not plan.root:
        raise ConfpressError(
            "nothing was chosen: the shares to keep and the floor leave no unit, head or channel."
        )
    fit = RepairPlan(plan, moments) if repair else None
    masked = model.clone()
    run([fit] if fit else [], masked)
    mask_plan(masked, plan)
    steps: list[Pass] = [] if fit is None else [fit]
    return [*steps, ApplyPlan(plan), SameOutputs.as_of(masked, tolerance)]


def watch(model: ir.Model, features: Iterable[FloatArray]) -> dict[str, Moments]:
    """Runs speech through a model and collects the moments that choice and repair need.

    Args:
        model: The simplified model.
        features: float32 [mels, frames] each.

    Returns:
        Moments of the inputs of every prunable module's last linear layer, by module id.
    """
    watched = watched_values(recognise(model))
    observed = [Observed(name, axis, gram=True) for name, axis in watched.values()]
    found = calibrate(model, features, observed)
    moments = {}
    for module, (name, _) in watched.items():
        statistics = found[name]
        assert statistics.gram is not None, "it was asked for"
        count = max(statistics.channel_count, 1)
        moments[module] = Moments(statistics.channel_sum / count, statistics.gram / count)
    return moments


@dataclasses.dataclass(frozen=True)
class Case:
    """Chunks of features fed in turn, and every output but the states for each.

    A removal makes states smaller; what they hold shows in the chunks that follow.
    """

    chunks: Sequence[Sequence[FloatArray]]
    expected: Sequence[Mapping[str, Sequence[Array]]]


@dataclasses.dataclass(frozen=True)
class SameOutputs(InPlacePass):
    """Changes nothing; refuses a model whose outputs are not those of a reference.

    The reference has run before the removal, so that its weights are not held beside the result's.

    Attributes:
        cases: Features with the outputs that count as right, at two lengths and two batch sizes.
        scores: Which output holds the scores.
        tolerance: Largest difference allowed, relative to the largest absolute output.
    """

    cases: Sequence[Case]
    scores: str
    tolerance: float

    @classmethod
    def as_of(cls, model: ir.Model, tolerance: float) -> SameOutputs:
        """Takes a model as it is now for the reference."""
        reference = Runner.start(model, _EXACT)
        face, default = reference.interface, ProofSection()
        frames = default.frames if face.frames is None else (face.frames,)
        sizes = default.batches if face.batch is None else (face.batch,)
        cases = []
        for count in frames:
            for size in sizes:
                chunks = _features(face, count, size)
                expected = [_without_states(reference, o) for o in reference.stream(chunks)]
                cases.append(Case(chunks, expected))
        del reference
        give_back_freed()
        return cls(cases, face.scores, tolerance)

    def call(self, model: ir.Model) -> PassResult:
        candidate = Runner.start(model, _EXACT)
        worst = max(
            difference.max_abs / max(difference.scale, 1e-30)
            for case in self.cases
            for batch, expected, actual in zip(
                case.chunks, case.expected, candidate.stream(case.chunks), strict=True
            )
            for difference in compare_batch(expected, self.scores, actual, batch)
        )
        if worst > self.tolerance:
            raise ConfpressError(
                f"removal changed the outputs by {worst:.2g} of their largest value, and "
                f"{self.tolerance:g} is allowed; nothing was written. Please report this."
            )
        return PassResult(model, False)


def _features(face: Interface, frames: int, batch: int) -> list[list[FloatArray]]:
    """A batch of utterances, or three chunks of them for a streaming model."""
    if face.states:
        return [
            [synthetic_features(face.mels, frames, seed=batch * chunk + i) for i in range(batch)]
            for chunk in range(_CHUNKS)
        ]
    shortest = 0.5 if face.length is not None else 1.0
    lengths = np.linspace(1.0, shortest, batch) * frames
    return [[synthetic_features(face.mels, int(n), seed=i) for i, n in enumerate(lengths)]]


def _without_states(
    runner: Runner, outputs: Mapping[str, Sequence[Array]]
) -> dict[str, Sequence[Array]]:
    states = {state.output for state in runner.interface.states}
    return {name: arrays for name, arrays in outputs.items() if name not in states}

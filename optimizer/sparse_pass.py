"""Zeros in weights in the pipeline: a stage that sets them, by magnitude or by what speech says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ..passes.base import InPlacePass, PassResult
from ..passes.format_choice import eligible_layers
from ..passes.sparsify import Sparsify
from ..runtime.calibration.calibrate import CalibrationSet
from ..runtime.calibration.importance import mean_squares
from ..runtime.calibration.second_moments import SecondMoments
from ..runtime.instructions import look_up_reach
from .recipe.recipe import Recipe
from .result.decisions import Findings
from .stages import Skip, Stage


@dataclass(frozen=True)
class SetZeros(InPlacePass):
    """Sets zeros where they change outputs least on speech.

    Unlike the passes of `passes/` it runs the model.

    Attributes:
        options: In which patterns, of which layers.
        recordings: Calibration speech.
        repair: Whether the weights that stay make good what goes.
        key: Stands for what is heard in the speech.
    """

    options: Sparsify
    recordings: CalibrationSet
    repair: bool = True
    key: str = ""

    def call(self, model: ir.Model) -> PassResult:
        found = dataclasses.replace(self.options, importance=mean_squares(model, self.recordings))
        if self.repair:
            layers = list(eligible_layers(model))
            found = dataclasses.replace(
                found, moments=SecondMoments(model, layers, self.recordings)
            )
        return found.call(model)


def sparsify_stage(recordings: CalibrationSet | None, key: str) -> Stage:
    """The stage that sets weights to zero, still in float32.

    Args:
        recordings: Calibration speech; None without.
        key: Stands for what is heard in it.
    """

    def passes(recipe: Recipe, _: Findings) -> Sequence[ir.passes.PassBase] | Skip:
        options = recipe.sparsify
        if options.pattern == "none":
            return Skip("the recipe asks for no zeros")
        zeros = Sparsify(
            pattern=options.pattern,
            least_energy=options.least_energy,
            exclude=options.exclude,
            reach=look_up_reach(recipe.lower.instructions),
            counts=options.counts,
        )
        if not options.repair:
            return [zeros]
        assert recordings is not None, "the job was checked"
        return [SetZeros(zeros, recordings, key=key)]

    return Stage(
        "sparsify",
        "set weights to zero in a pattern that kernels skip (speed only until trained again)",
        passes,
        lossless=False,
    )

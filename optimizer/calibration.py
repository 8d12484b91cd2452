"""From speech and a recipe to the constant ranges of static int8."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from ..passes.quantize import Range, values_to_calibrate
from ..runtime.cache import Cache
from ..runtime.calibration.calibrate import CalibrationSet, Observed, calibrate, load_calibration
from ..runtime.calibration.statistics_cache import known_statistics
from ..runtime.speech.frontend import FrontEnd
from .recipe.recipe import Recipe

#: Convolutions have their channels on this axis.
_CHANNEL_AXIS = 1


def load_recordings(path: Path, frontend: FrontEnd, recipe: Recipe) -> CalibrationSet:
    """The recordings that the recipe takes.

    Raises:
        ConfpressError: there is no such folder, or nothing is in it.
    """
    options = recipe.calibration
    return load_calibration(path, frontend, subset=options.subset, max_seconds=options.max_seconds)


def why_no_ranges(model: ir.Model, recordings: CalibrationSet | None, recipe: Recipe) -> str | None:
    """Why nothing is to be calibrated, in a sentence; None if something is."""
    if recipe.why_no_int8 is not None:
        return recipe.why_no_int8
    if recipe.quantize.convolution == "float32":
        return "the recipe keeps convolutions in float32"
    values = values_to_calibrate(model)
    if not values:
        return "the model has no convolution that is computed in int8"
    if recordings is None:
        return (
            f"no calibration speech was given (--calibration), so {len(values)} activations have "
            "no range and the convolutions stay float32"
        )
    return None


def calibrated_ranges(
    model: ir.Model,
    recordings: CalibrationSet,
    recipe: Recipe,
    cache: Cache | None = None,
    key: str = "",
) -> dict[str, Range]:
    """Runs the recordings through a model and takes the ranges that the recipe asks for.

    Args:
        model: The model as it will be quantised.
        recordings: Speech; only one utterance is in memory at a time.
        recipe: Its section `calibration` says how ranges are chosen.
        cache: Statistics of earlier runs; None knows none.
        key: Stands for the model and the recordings, where there is a cache.

    Returns:
        The range of every activation that gets a constant scale, by value name.

    Raises:
        ConfpressError: the model fails, gives no finite numbers, or audio cannot be read.
    """
    options = recipe.calibration
    watched = [Observed(name, channel_axis=_CHANNEL_AXIS) for name in values_to_calibrate(model)]
    found = known_statistics(cache or Cache(), key, lambda: calibrate(model, recordings, watched))
    return {
        name: statistics.range(options.method, percentile=options.percentile, symmetric=False)
        for name, statistics in found.items()
    }

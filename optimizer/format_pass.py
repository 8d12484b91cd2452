"""The choice of formats as a stage of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from ..passes.base import InPlacePass, Journal, PassResult
from ..passes.errors import ConfpressError
from ..passes.format_plan import FormatPlan
from ..runtime.cache import Cache
from ..runtime.calibrate import CalibrationSet
from .decisions import Findings
from .format_stage import Wish, choose_formats
from .formats import Known
from .recipe import Recipe
from .stages import Skip, Stage

_NAME = "formats"


@dataclass(frozen=True)
class ChooseFormats(InPlacePass):
    """Chooses formats on speech, repairs what is quantised, and inserts the QDQ nodes.

    Unlike the passes of `passes/` it runs the model.

    Attributes:
        recordings: Calibration speech.
        key: Stands for the model and what is heard in the speech.
        wish: What formats are chosen by.
        cache: What earlier runs measured.
    """

    recordings: CalibrationSet
    key: str
    wish: Wish
    cache: Cache = field(default_factory=Cache, repr=False)

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        found = choose_formats(model, self.recordings, self.wish, Known(self.cache, self.key))
        for note in found.notes:
            journal.change("model", note)
        journal.extend(found.quantize(model))
        return journal.result(model)


def formats_stage(recordings: CalibrationSet | None, key: str, cache: Cache) -> Stage:
    """The stage that chooses formats.

    Args:
        recordings: Calibration speech; None without.
        key: Stands for the model before the stage, and what is heard in the speech.
        cache: What earlier runs measured.
    """

    def passes(recipe: Recipe, findings: Findings) -> Sequence[ir.passes.PassBase] | Skip:
        if recipe.formats.choice == "none":
            return Skip("the recipe gives all linear layers one format")
        if recordings is None:
            raise ConfpressError(
                f"formats by '{recipe.formats.choice}' need calibration speech; give --calibration."
            )
        return [ChooseFormats(recordings, key, _wish(recipe, findings), cache)]

    return Stage(_NAME, "give each linear layer a number format of its own", passes, lossless=False)


def _wish(recipe: Recipe, findings: Findings) -> Wish:
    options = recipe.formats
    choice = options.choice
    return Wish(
        choice=None if choice == "none" or choice == "plan" else choice,
        plan=None if options.plan is None else FormatPlan.load(Path(options.plan)),
        integer_frames=options.integer_frames,
        exclude=recipe.quantize.exclude,
        repair=None if options.repair == "none" else options.repair,
        max_bytes=None if options.max_size is None else round(1e6 * options.max_size),
        max_milliseconds=options.max_latency,
        max_error=options.max_error,
        ranges=findings.ranges,
    )

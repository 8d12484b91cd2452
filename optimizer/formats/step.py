"""Formats of linear layers in the pipeline: a step that chooses them, a stage that gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from ...passes.base import InPlacePass, Journal, PassResult
from ...passes.format_plan import FormatPlan
from ...runtime.cache import Cache
from ...runtime.calibration.calibrate import CalibrationSet
from ..job import Job
from ..recipe.recipe import Recipe
from ..result.decisions import Findings
from ..stages import Skip, Stage
from .choose import Chosen, choose_formats, choose_plan
from .repair import Repair
from .sensitivity import Known
from .wish import Wish
from .words import SelectionSpeech


@dataclass(frozen=True)
class GiveFormats(InPlacePass):
    """Gives layers the formats of a plan: finds scales, repairs, and inserts the QDQ nodes.

    Unlike the passes of `passes/` it runs the model.

    Attributes:
        recordings: Calibration speech.
        key: Stands for the model and what is heard in the speech.
        plan: The formats.
        repair: How quantised layers are repaired; None leaves them as they are rounded.
        cache: What earlier runs measured.
    """

    recordings: CalibrationSet
    key: str
    plan: FormatPlan
    repair: Repair | None
    cache: Cache = field(default_factory=Cache, repr=False)

    def call(self, model: ir.Model) -> PassResult:
        wish = Wish(plan=self.plan, repair=self.repair)
        found = choose_formats(model, self.recordings, wish, Known(self.cache, self.key))
        journal = Journal()
        journal.extend(found.quantize(model))
        return journal.result(model)


def formats_stage(recordings: CalibrationSet | None, key: str, cache: Cache) -> Stage:
    """The stage that gives layers the formats that were found.

    Args:
        recordings: Calibration speech; None without.
        key: Stands for the model before the stage, and what is heard in the speech.
        cache: What earlier runs measured.
    """

    def passes(recipe: Recipe, findings: Findings) -> Sequence[ir.passes.PassBase] | Skip:
        if recipe.formats.choice == "none":
            return Skip("the recipe gives all linear layers one format")
        assert recordings is not None and findings.formats is not None, "the job was checked"
        return [GiveFormats(recordings, key, findings.formats, _repair(recipe), cache)]

    return Stage(
        "formats", "give each linear layer a number format of its own", passes, lossless=False
    )


def given_plan(job: Job) -> tuple[FormatPlan, str] | None:
    """The formats that need no choice, and where they come from; None where there are none."""
    if job.findings is not None and job.findings.formats is not None:
        return job.findings.formats, str(job.inputs.decisions)
    plan = job.recipe.formats.plan
    return None if plan is None else (FormatPlan.load(Path(plan)), plan)


def choose(
    model: ir.Model, job: Job, findings: Findings, key: str, tell: Callable[[str], object]
) -> tuple[Chosen, PassResult]:
    """Chooses formats as the recipe says.

    Args:
        model: As it will be quantised.
        job: The run's inputs, with calibration speech.
        findings: Ranges of convolutions, which a size counts.
        key: Stands for the model and what is heard in the speech.
        tell: Is told how it goes on, in sentences.

    Returns:
        The formats, and what was found on the way.

    Raises:
        ConfpressError: as `choose_plan`.
    """
    assert job.calibration is not None, "the job was checked"
    wish = _wish(job.recipe, findings)
    speech = None
    if job.selection:
        speech = SelectionSpeech(job.original, job.selection, job.content, job.cache, tell)
    chosen = choose_plan(model, job.calibration, wish, Known(job.cache, key), speech)
    journal = Journal()
    for note in chosen.notes:
        journal.change("model", note)
    return chosen, journal.result(model, modified=False)


def _wish(recipe: Recipe, findings: Findings) -> Wish:
    options = recipe.formats
    choice = options.choice
    assert choice != "none" and choice != "plan", "nothing is to be chosen"
    return Wish(
        choice=choice,
        integer_frames=options.integer_frames,
        exclude=recipe.quantize.exclude,
        repair=_repair(recipe),
        max_bytes=None if options.max_size is None else round(1e6 * options.max_size),
        max_milliseconds=options.max_latency,
        max_error=options.max_error,
        max_wer_increase=options.max_wer_increase,
        ranges=findings.ranges,
    )


def _repair(recipe: Recipe) -> Repair | None:
    return None if recipe.formats.repair == "none" else recipe.formats.repair

"""The stage that chooses formats: from calibration speech to a plan for ``quantize``."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from ...passes.format_choice import Criterion, LayerInputs, format_errors, mofq
from ...passes.format_plan import FormatPlan
from ...runtime.calibration.calibrate import CalibrationSet
from .mixed import mixed_plan
from .repair import repair
from .sensitivity import (
    EIGHT_BIT_BOTH,
    FOUR_BIT,
    NOTHING_KNOWN,
    SAMPLED_ROWS,
    Known,
    observe_inputs,
)
from .wish import Formats, Wish
from .words import SelectionSpeech


@dataclass(frozen=True)
class Chosen:
    """Formats that were chosen.

    Attributes:
        plan: The format of every layer.
        notes: What was found on the way, in sentences.
    """

    plan: FormatPlan
    notes: tuple[str, ...] = ()


def choose_plan(
    model: ir.Model,
    recordings: CalibrationSet,
    wish: Wish,
    known: Known = NOTHING_KNOWN,
    speech: SelectionSpeech | None = None,
) -> Chosen:
    """Chooses a format for each linear layer; arguments and errors as of `choose_formats`."""
    inputs = _observed(model, recordings, wish, known)
    return _chosen(model, recordings, inputs, wish, known, speech)


def choose_formats(
    model: ir.Model,
    recordings: CalibrationSet,
    wish: Wish,
    known: Known = NOTHING_KNOWN,
    speech: SelectionSpeech | None = None,
) -> Formats:
    """Chooses a format for each linear layer, and repairs what is quantised.

    Args:
        model: The float32 model as it will be quantised.
        recordings: Calibration speech; one recording at a time is in memory.
        wish: How.
        known: What earlier runs measured of the model on this speech.
        speech: What plans are judged by, where the word error rate is limited.

    Raises:
        ConfpressError: the model cannot be calibrated, or no choice keeps the limits.
    """
    inputs = _observed(model, recordings, wish, known)
    chosen = _chosen(model, recordings, inputs, wish, known, speech)
    repaired = {} if wish.repair is None else repair(model, recordings, chosen.plan, wish.repair)
    importance = {name: each.mean_square for name, each in inputs.items()}
    return Formats(chosen.plan, importance, repaired, chosen.notes)


def _observed(
    model: ir.Model, recordings: CalibrationSet, wish: Wish, known: Known
) -> dict[str, LayerInputs]:
    """What calibration sees of the layers' inputs."""
    rows = SAMPLED_ROWS if wish.choice == "mofq8" else 0
    return observe_inputs(model, recordings, rows=rows, known=known)


def _chosen(
    model: ir.Model,
    recordings: CalibrationSet,
    inputs: dict[str, LayerInputs],
    wish: Wish,
    known: Known,
    speech: SelectionSpeech | None,
) -> Chosen:
    """The plan that was given, or the one that is wished for, with the frames that layers get."""
    if wish.plan is not None:
        return Chosen(wish.plan)
    notes: tuple[str, ...] = ()
    if wish.choice == "mixed":
        plan, notes = mixed_plan(model, recordings, inputs, wish, known, speech)
    else:
        both = wish.choice == "mofq8"
        candidates = EIGHT_BIT_BOTH if both else FOUR_BIT
        criterion: Criterion = "output" if both else "weighted"
        errors = format_errors(model, candidates, inputs, criterion, wish.wants)
        plan = mofq(errors, candidates)
    return Chosen(wish.planned(plan), notes)

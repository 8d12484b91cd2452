"""The stage that chooses formats: from calibration speech to a plan for ``quantize``."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..passes.format_choice import Criterion, format_errors, mofq
from ..passes.format_plan import PLAIN, FormatPlan
from ..runtime.calibrate import CalibrationSet
from .formats import (
    EIGHT_BIT_BOTH,
    FOUR_BIT,
    SAMPLED_ROWS,
    observe_inputs,
)

#: `mofq4`: 4-bit weights, int4 or FP4. `mofq8`: weights and frames of 8 bits, int8 or FP8.
Choice = Literal["mofq4", "mofq8"]


@dataclass(frozen=True)
class Formats:
    """What ``quantize`` is told.

    Attributes:
        plan: The format of every layer.
        importance: E[x²] of layers' inputs, by value name, for the search of scales.
    """

    plan: FormatPlan
    importance: dict[str, npt.NDArray[np.float64]]


def choose_formats(
    model: ir.Model,
    recordings: CalibrationSet,
    choice: Choice,
    *,
    integer_frames: bool = True,
    exclude: tuple[str, ...] = (),
) -> Formats:
    """Chooses a format for each linear layer.

    Args:
        model: The float32 model as it will be quantised.
        recordings: Calibration speech; one recording at a time is in memory.
        choice: How.
        integer_frames: For ``mofq4``: whether layers get int8 frames, so that target ``cpu``
            computes them in integers; otherwise codes are storage.
        exclude: Patterns of layer ids that stay float32.

    Raises:
        ConfpressError: the model cannot be calibrated.
    """

    def wanted(layer: str) -> bool:
        return not any(fnmatch.fnmatchcase(layer, pattern) for pattern in exclude)

    both = choice == "mofq8"
    inputs = observe_inputs(model, recordings, rows=SAMPLED_ROWS if both else 0)
    candidates = EIGHT_BIT_BOTH if both else FOUR_BIT
    criterion: Criterion = "output" if both else "weighted"
    plan = mofq(format_errors(model, candidates, inputs, criterion, wanted), candidates)
    importance = {name: each.mean_square for name, each in inputs.items()}
    return Formats(with_integer_frames(plan) if integer_frames and not both else plan, importance)


def with_integer_frames(plan: FormatPlan) -> FormatPlan:
    """The plan with int8 frames for every layer whose weights kernels multiply as integers."""
    floats = (*PLAIN, "fp8", "fp8_e5m2")
    return FormatPlan(
        layers={
            name: form if form.weight in floats else form.model_copy(update={"activations": "int8"})
            for name, form in plan.layers.items()
        }
    )

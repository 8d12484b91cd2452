"""What formats are wished for, and what comes of it."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...passes.errors import ConfpressError
from ...passes.format_plan import PLAIN, FormatPlan, LayerFormat
from ...passes.quantize import Format, Quantize, Range
from ...passes.quantize_linear import Repaired
from .repair import Repair

#: `mofq4`: 4-bit weights, int4 or FP4. `mofq8`: weights and frames of 8 bits, int8 or FP8.
#: `mixed`: what fits a size best, of 2 to 32 bits.
Choice = Literal["mofq4", "mofq8", "mixed"]


@dataclass(frozen=True)
class Wish:
    """What formats are chosen by.

    Attributes:
        choice: How; None where ``plan`` says the formats.
        plan: Formats that were given.
        integer_frames: Whether layers of integers and low bits get int8 frames, so that target
            ``cpu`` computes them in integers; otherwise codes are storage.
        exclude: Patterns of layer ids that stay float32.
        repair: How quantised layers are repaired; None leaves them as they are rounded.
        max_bytes: Size of the file of target ``portable`` that ``mixed`` has to keep.
        max_milliseconds: What linear layers may take together for 5 s of speech on target ``cpu``.
        max_error: What ``mixed`` may change the scores by, summed over layers.
        max_wer_increase: Points of word error rate that ``mixed`` may lose on the speech that it
            is judged by.
        ranges: Calibrated ranges of convolutions that will be int8, which the size counts.
    """

    choice: Choice | None = None
    plan: FormatPlan | None = None
    integer_frames: bool = True
    exclude: tuple[str, ...] = ()
    repair: Repair | None = None
    max_bytes: int | None = None
    max_milliseconds: float | None = None
    max_error: float | None = None
    max_wer_increase: float | None = None
    ranges: Mapping[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.choice is None) == (self.plan is None):
            raise ConfpressError("formats are either chosen or given by a plan.")
        sizes = (self.max_bytes, self.max_error)
        limits = (*sizes, self.max_milliseconds, self.max_wer_increase)
        if (self.choice == "mixed") != any(limit is not None for limit in limits):
            raise ConfpressError("limits go with the choice 'mixed', and with no other.")
        if self.max_wer_increase is not None and any(limit is not None for limit in sizes):
            raise ConfpressError(
                "a limit on the word error rate makes the file as small as it can; it goes with a "
                "limit on the latency, and with no other."
            )

    def wants(self, layer: str) -> bool:
        """Whether a layer, by its id, is to be given a format."""
        return not any(fnmatch.fnmatchcase(layer, each) for each in self.exclude)

    def with_convolutions(self, linear: Quantize) -> Quantize:
        """A pass that gives linear layers formats, and makes calibrated convolutions int8."""
        convolution: Format = "int8" if self.ranges else "float32"
        return dataclasses.replace(
            linear, convolution=convolution, ranges=self.ranges, exclude=self.exclude
        )

    def as_run(self, form: LayerFormat) -> LayerFormat:
        """A chosen format with the frames that it will have."""
        return with_integer_frames(form) if self.integer_frames else form

    def planned(self, plan: FormatPlan) -> FormatPlan:
        """A chosen plan with the frames that its layers will have."""
        return FormatPlan(layers={name: self.as_run(form) for name, form in plan.layers.items()})


@dataclass(frozen=True)
class Formats:
    """What ``quantize`` is told.

    Attributes:
        plan: The format of every layer.
        importance: E[x²] of layers' inputs, by value name, for the search of scales.
        repaired: Layers that were repaired, by id.
        notes: What was found on the way, in sentences.
    """

    plan: FormatPlan
    importance: dict[str, npt.NDArray[np.float64]]
    repaired: dict[str, Repaired] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def quantize(self) -> Quantize:
        """The pass that gives linear layers their formats, and leaves convolutions alone."""
        return Quantize(
            convolution="float32",
            plan=self.plan,
            importance=self.importance,
            repaired=self.repaired,
        )


def with_integer_frames(form: LayerFormat) -> LayerFormat:
    """The format with int8 frames, where kernels multiply its weights as integers."""
    if form.weight in (*PLAIN, "fp8", "fp8_e5m2"):
        return form
    return form.model_copy(update={"activations": "int8"})

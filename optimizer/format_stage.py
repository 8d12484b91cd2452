"""The stage that chooses formats: from calibration speech to a plan for ``quantize``."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..passes.base import run
from ..passes.errors import ConfpressError
from ..passes.format_choice import (
    Criterion,
    LayerInputs,
    eligible_layers,
    format_errors,
    mofq,
    weight_shape,
)
from ..passes.format_plan import PLAIN, FormatPlan, LayerFormat
from ..passes.formats import quantize_matrix
from ..passes.lower.portable import LowerPortable
from ..passes.lower.reference import LowerReference
from ..passes.quantize import Quantize, Range
from ..passes.quantize_linear import Repaired
from ..passes.rewrite import constant
from ..passes.versions import MinimiseVersions
from ..runtime.calibrate import CalibrationSet
from ..runtime.format_costs import measure_formats
from ..runtime.interface import FloatArray
from ..runtime.model_file import file_bytes, save_model
from .format_budget import Allocation, Limits, Option, allocate
from .formats import (
    COARSE,
    EIGHT_BIT_BOTH,
    FOUR_BIT,
    NOTHING_KNOWN,
    SAMPLED_ROWS,
    Known,
    divergence,
    known_sensitivities,
    observe_inputs,
    options_of,
)
from .repair import Repair, repair

#: `mofq4`: 4-bit weights, int4 or FP4. `mofq8`: weights and frames of 8 bits, int8 or FP8.
#: `mixed`: what fits a size best, of 2 to 32 bits.
Choice = Literal["mofq4", "mofq8", "mixed"]

#: Speech that sensitivities are measured on, of which every recording gives its beginning.
PROBED_RECORDINGS = 16
PROBED_FRAMES = 300
#: Rounds in which the room for weights is corrected by the size of the file that came out.
_ROUNDS = 4
#: Part of the size that may be left over.
_SPARE = 0.004


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
    ranges: Mapping[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.choice is None) == (self.plan is None):
            raise ConfpressError("formats are either chosen or given by a plan.")
        limits = (self.max_bytes, self.max_milliseconds, self.max_error)
        if (self.choice == "mixed") != any(limit is not None for limit in limits):
            raise ConfpressError("limits go with the choice 'mixed', and with no other.")


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
    model: ir.Model, recordings: CalibrationSet, wish: Wish, known: Known = NOTHING_KNOWN
) -> Chosen:
    """Chooses a format for each linear layer; arguments and errors as of `choose_formats`."""
    return _chosen(model, recordings, _observed(model, recordings, wish, known), wish, known)


def choose_formats(
    model: ir.Model, recordings: CalibrationSet, wish: Wish, known: Known = NOTHING_KNOWN
) -> Formats:
    """Chooses a format for each linear layer, and repairs what is quantised.

    Args:
        model: The float32 model as it will be quantised.
        recordings: Calibration speech; one recording at a time is in memory.
        wish: How.
        known: What earlier runs measured of the model on this speech.

    Raises:
        ConfpressError: the model cannot be calibrated, or no choice fits the size.
    """
    inputs = _observed(model, recordings, wish, known)
    chosen = _chosen(model, recordings, inputs, wish, known)
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
) -> Chosen:
    """The plan that was given, or the one that is wished for, with the frames that layers get."""
    if wish.plan is not None:
        return Chosen(wish.plan)
    notes: tuple[str, ...] = ()
    if wish.choice == "mixed":
        plan, notes = _mixed(model, recordings, inputs, wish, known)
    else:
        both = wish.choice == "mofq8"
        candidates = EIGHT_BIT_BOTH if both else FOUR_BIT
        criterion: Criterion = "output" if both else "weighted"
        errors = format_errors(model, candidates, inputs, criterion, _wanted(wish))
        plan = mofq(errors, candidates)
    return Chosen(_as_planned(plan, wish), notes)


def with_integer_frames(form: LayerFormat) -> LayerFormat:
    """The format with int8 frames, where kernels multiply its weights as integers."""
    if form.weight in (*PLAIN, "fp8", "fp8_e5m2"):
        return form
    return form.model_copy(update={"activations": "int8"})


def _as_run(form: LayerFormat, wish: Wish) -> LayerFormat:
    """A chosen format with the frames that it will have."""
    return with_integer_frames(form) if wish.integer_frames else form


def _as_planned(plan: FormatPlan, wish: Wish) -> FormatPlan:
    """A chosen plan with the frames that its layers will have."""
    return FormatPlan(layers={name: _as_run(form, wish) for name, form in plan.layers.items()})


def portable_size(model: ir.Model, plan: FormatPlan, wish: Wish) -> int:
    """Bytes of the file of target ``portable`` with a plan; scales are not searched for.

    Args:
        model: The float32 model.
        plan: Formats of its linear layers.
        wish: Says which convolutions will be int8, and what repairs add.
    """
    plain = FormatPlan(
        layers={
            name: form if form.weight in PLAIN else form.model_copy(update={"method": "maximum"})
            for name, form in plan.layers.items()
        }
    )
    copy = model.clone()
    quantize = Quantize(
        convolution="int8" if wish.ranges else "float32",
        ranges=wish.ranges,
        plan=plain,
        repaired=_stand_ins(copy, plain) if wish.repair in ("bias", "both") else {},
    )
    run([quantize, LowerPortable(), MinimiseVersions()], copy)
    with tempfile.TemporaryDirectory(prefix="confpress-") as folder:
        path = Path(folder) / "model.onnx"
        save_model(copy, path)
        return file_bytes(path)


def _stand_ins(model: ir.Model, plan: FormatPlan) -> dict[str, Repaired]:
    """Layers with biases, as large as repaired ones."""
    found = {}
    for layer in eligible_layers(model):
        form = plan.layers.get(layer.id)
        if form is not None and form.weight not in PLAIN:
            weight = constant(layer.weight)
            assert weight is not None, "eligible layers have constant weights"
            bias = np.ones(weight.shape[1], np.float32)
            found[layer.id] = Repaired(quantize_matrix(weight, form.scheme), bias)
    return found


def _wanted(wish: Wish) -> Callable[[str], bool]:
    return lambda layer: not any(fnmatch.fnmatchcase(layer, each) for each in wish.exclude)


def _mixed(
    model: ir.Model,
    recordings: CalibrationSet,
    inputs: dict[str, LayerInputs],
    wish: Wish,
    known: Known,
) -> tuple[FormatPlan, tuple[str, ...]]:
    """The plan that changes the scores least within the limits.

    Coarse formats are taken only where the limits cannot be kept without them: the last layers,
    whose errors reach the scores directly, would be given bits that all the others lack, and what
    many layers with large errors do together is more than the sum that the plan is chosen by.
    """
    features = _probed(recordings)
    importance = {name: each.mean_square for name, each in inputs.items()}
    matters = known_sensitivities(model, features, inputs, known)
    options = {
        name: each
        for name, each in options_of(model, inputs, matters).items()
        if _wanted(wish)(name)
    }
    notes: list[str] = []
    if wish.max_milliseconds is not None:
        options = _timed(model, options, wish, known)
    best = _careful(model, options, wish)
    copy = model.clone()
    run([Formats(_as_planned(best.plan, wish), importance).quantize, LowerReference()], copy)
    notes.append(
        f"Layers one by one change the scores by {best.error:.3g} together, the whole plan by "
        f"{divergence(model, copy, features):.3g} (KL a frame, without repairs and without the "
        "tenth of the frames that changes most); the file of target portable takes "
        f"{best.bytes / 1e6:.2f} MB."
    )
    if wish.max_milliseconds is not None:
        floats = sum(each[0].milliseconds for each in options.values())
        notes.append(
            f"Linear layers take {best.milliseconds:.1f} ms for 5 s of speech on target cpu, in "
            f"float32 {floats:.1f} ms."
        )
    return best.plan, tuple(notes)


def _careful(model: ir.Model, options: Mapping[str, Sequence[Option]], wish: Wish) -> Allocation:
    """The best plan of the finest formats with which the limits can be kept."""
    for coarse in COARSE:
        fine = {name: [o for o in each if o.form not in coarse] for name, each in options.items()}
        with contextlib.suppress(ConfpressError):
            return _fitting(model, fine, wish)
    return _fitting(model, options, wish)


def _timed(
    model: ir.Model, options: Mapping[str, Sequence[Option]], wish: Wish, known: Known
) -> dict[str, list[Option]]:
    """The options with times that are measured on this machine."""
    shapes = {layer.id: weight_shape(layer) for layer in eligible_layers(model)}
    forms = {_as_run(each.form, wish) for choice in options.values() for each in choice}
    times = measure_formats(shapes.values(), forms, cache=known.cache)
    return {
        name: [
            dataclasses.replace(
                each, milliseconds=times[*shapes[name], _as_run(each.form, wish).label]
            )
            for each in choice
        ]
        for name, choice in options.items()
    }


def _fitting(model: ir.Model, options: Mapping[str, Sequence[Option]], wish: Wish) -> Allocation:
    """The best plan by the layers' errors that keeps the limits; ``bytes`` are the file's."""
    limits = Limits(milliseconds=wish.max_milliseconds, error=wish.max_error)
    if wish.max_bytes is None:
        allocation = allocate(options, limits)
        size = portable_size(model, allocation.plan, wish)
        return dataclasses.replace(allocation, bytes=size)
    smallest = allocate(options, Limits(error=math.inf))
    least = portable_size(model, smallest.plan, wish)
    if least > wish.max_bytes:
        raise ConfpressError(
            f"no choice of formats stays within {wish.max_bytes / 1e6:.2f} MB: the smallest file "
            f"takes {least / 1e6:.2f} MB."
        )
    # The graph around the weights takes room too.
    room = smallest.bytes + wish.max_bytes - least
    best: Allocation | None = None
    for _ in range(_ROUNDS):
        allocation = allocate(options, dataclasses.replace(limits, bytes=room))
        size = portable_size(model, allocation.plan, wish)
        left = wish.max_bytes - size
        if left >= 0 and (best is None or allocation.error < best.error):
            best = dataclasses.replace(allocation, bytes=size)
        if 0 <= left <= _SPARE * wish.max_bytes or allocation.error == 0:
            break
        room = allocation.bytes + left - round(_SPARE * wish.max_bytes / 2)
    if best is None:
        raise ConfpressError(
            f"no plan of formats was found for {wish.max_bytes / 1e6:.2f} MB; the last one takes "
            f"{size / 1e6:.2f} MB."
        )
    return best


def _probed(recordings: CalibrationSet) -> Sequence[FloatArray]:
    found = []
    for features in recordings:
        found.append(features[:, :PROBED_FRAMES])
        if len(found) == PROBED_RECORDINGS:
            break
    return found

"""Formats of 2 to 32 bits: what changes the scores least, or is smallest, within limits."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ...passes.base import run
from ...passes.errors import ConfpressError
from ...passes.format_choice import LayerInputs, eligible_layers
from ...passes.format_plan import FormatPlan
from ...passes.linear import weight_shape
from ...passes.lower.reference import LowerReference
from ...runtime.calibration.calibrate import CalibrationSet
from ...runtime.costs.formats import measure_formats
from ...runtime.interface import FloatArray
from ...runtime.validation.validate import RateComparison
from .budget import Allocation, Limits, Option, allocate
from .repair import repair
from .sensitivity import COARSE, Known, divergence, known_sensitivities, options_of
from .size import portable_size
from .wish import Formats, Wish
from .words import Judge, SelectionSpeech, smallest_plan

#: Speech that sensitivities are measured on, of which every recording gives its beginning.
PROBED_RECORDINGS = 16
PROBED_FRAMES = 300
#: What loses words where no format of linear layers does.
_INT8_CONVOLUTIONS = (
    "Its convolutions are int8: leave them in float32 (quantize.convolution, --convolution)."
)
#: Rounds in which the room for weights is corrected by the size of the file that came out.
_ROUNDS = 4
#: Part of the size that may be left over.
_SPARE = 0.004


def mixed_plan(
    model: ir.Model,
    recordings: CalibrationSet,
    inputs: dict[str, LayerInputs],
    wish: Wish,
    known: Known,
    speech: SelectionSpeech | None = None,
) -> tuple[FormatPlan, tuple[str, ...]]:
    """The plan that changes the scores least within the limits, or the smallest that keeps them.

    Coarse formats are taken only where the limits cannot be kept without them: the last layers,
    whose errors reach the scores directly, would be given bits that all the others lack, and what
    many layers with large errors do together is more than the sum that the plan is chosen by.

    Args:
        model: The float32 model as it will be quantised.
        recordings: Calibration speech.
        inputs: What it showed of the layers.
        wish: The limits.
        known: What earlier runs measured.
        speech: What plans are judged by; needed by a limit on the word error rate.

    Returns:
        The plan, without the frames of ``wish``, and what was found on the way, in sentences.

    Raises:
        ConfpressError: no plan keeps the limits.
    """
    features = _probed(recordings)
    importance = {name: each.mean_square for name, each in inputs.items()}
    matters = known_sensitivities(model, features, inputs, known)
    options = {
        name: each for name, each in options_of(model, inputs, matters).items() if wish.wants(name)
    }
    notes: list[str] = []
    if wish.max_milliseconds is not None:
        options = _timed(model, options, wish, known)
    if wish.max_wer_increase is None:
        best = _careful(options, lambda each: _fitting(model, each, wish))
    else:
        if speech is None:
            raise ConfpressError(
                "a limit on the word error rate needs speech with texts: give --selection."
            )
        judge = _judge(model, recordings, importance, wish, speech)
        best, judged = _keeping_words(model, options, wish, judge, speech.tell)
        notes += judged
    copy = model.clone()
    run([Formats(wish.planned(best.plan), importance).quantize, LowerReference()], copy)
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


def _judge(
    model: ir.Model,
    recordings: CalibrationSet,
    importance: dict[str, npt.NDArray[np.float64]],
    wish: Wish,
    speech: SelectionSpeech,
) -> Judge:
    """What tells the words of a plan that is carried out: repaired, with int8 convolutions."""

    def judge(plan: FormatPlan) -> RateComparison:
        planned = wish.planned(plan)
        repaired = {} if wish.repair is None else repair(model, recordings, planned, wish.repair)
        linear = Formats(planned, importance, repaired).quantize
        copy = model.clone()
        run([wish.with_convolutions(linear), LowerReference()], copy)
        return speech.compare(copy)

    return judge


def _keeping_words(
    model: ir.Model,
    options: Mapping[str, Sequence[Option]],
    wish: Wish,
    judge: Judge,
    tell: Callable[[str], object],
) -> tuple[Allocation, tuple[str, ...]]:
    """The smallest plan that was found to keep the word error rate; ``bytes`` are the file's."""
    assert wish.max_wer_increase is not None, "it is what plans are judged by"

    def within(room: int) -> Allocation:
        limits = Limits(milliseconds=wish.max_milliseconds, bytes=room)
        return _careful(options, lambda each: allocate(each, limits))

    sizes = [[option.bytes for option in each] for each in options.values()]
    room = sum(map(min, sizes)), sum(map(max, sizes))
    found, notes = smallest_plan(
        within, judge, room, wish.max_wer_increase, tell, _INT8_CONVOLUTIONS if wish.ranges else ""
    )
    return dataclasses.replace(found, bytes=portable_size(model, found.plan, wish)), notes


def _careful(
    options: Mapping[str, Sequence[Option]],
    solve: Callable[[Mapping[str, Sequence[Option]]], Allocation],
) -> Allocation:
    """The best plan of the finest formats with which the limits can be kept."""
    for coarse in COARSE:
        fine = {name: [o for o in each if o.form not in coarse] for name, each in options.items()}
        with contextlib.suppress(ConfpressError):
            return solve(fine)
    return solve(options)


def _timed(
    model: ir.Model, options: Mapping[str, Sequence[Option]], wish: Wish, known: Known
) -> dict[str, list[Option]]:
    """The options with times that are measured on this machine."""
    shapes = {layer.id: weight_shape(layer) for layer in eligible_layers(model)}
    forms = {wish.as_run(each.form) for choice in options.values() for each in choice}
    times = measure_formats(shapes.values(), forms, cache=known.cache)
    return {
        name: [
            dataclasses.replace(
                each, milliseconds=times[*shapes[name], wish.as_run(each.form).label]
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

"""Which parts of a model stay float32 where the others become float16: decided by their error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ...passes.base import layer_of, run
from ...passes.lower.float16 import Float16
from ...runtime.inputs import SpeechSource
from ...runtime.interface import FloatArray
from ...runtime.progress import progress
from ...runtime.recognition.asr import AsrModel
from ...runtime.runner import Runner
from ...runtime.session import DEFAULT_OPTIONS, SessionOptions
from ...runtime.speech.manifest import Utterance

#: Of audio; errors hardly depend on it.
_SECONDS = 3.0


def parts_of(model: ir.Model) -> tuple[str, ...]:
    """Ids of the model's blocks, such as ``encoder.layers.3``, and of layers that are in none."""
    parts: dict[str, None] = {}
    for node in model.graph:
        names = layer_of(node).split(".")
        numbers = [i for i, name in enumerate(names) if name.isdigit()]
        parts[".".join(names[: numbers[0] + 1] if numbers else names)] = None
    return tuple(parts)


def float32_parts(
    model: ir.Model,
    source: AsrModel,
    least_db: float,
    utterances: Sequence[Utterance] = (),
    *,
    longest: float | None = None,
    options: SessionOptions = DEFAULT_OPTIONS,
) -> tuple[str, ...]:
    """The parts to be kept float32 so that the outputs' error stays small, worst first.

    The CPU provider computes float16 in float32 and rounds between operators alone.

    Args:
        model: Lowered, with layer ids; not changed.
        source: The file it came from, with its front end.
        least_db: What signal over error of the outputs must reach, in dB.
        utterances: Speech of which some seconds are taken; noise without it.
        longest: Seconds of audio that the model takes at most; None is any length.
        options: How it is run.

    Raises:
        ConfpressError: the model cannot be run.
    """
    speech, face = SpeechSource(source.frontend, utterances), source.interface
    frames = speech.frames(_SECONDS if longest is None else min(_SECONDS, longest))
    if face.frames is not None and not face.states:
        frames = face.frames
    batch = speech.batch(frames, face.batch or 1)
    right = _scores(model, batch, options)
    parts = parts_of(model)

    def error_db(keep: Sequence[str]) -> float:
        half = run([Float16(keep=tuple(keep))], model.clone()).model
        return _db(right, _scores(half, batch, options))

    if error_db(()) >= least_db:
        return ()
    with progress("Measuring parts in float16", len(parts), "parts") as advance:
        alone = {}
        for part in parts:
            alone[part] = error_db([other for other in parts if other != part])
            advance(1)
    keep: list[str] = []
    for part in sorted(parts, key=lambda part: alone[part]):
        keep.append(part)
        if error_db(keep) >= least_db:
            break
    return tuple(keep)


def _scores(
    model: ir.Model, batch: Sequence[FloatArray], options: SessionOptions
) -> npt.NDArray[np.float64]:
    scores = Runner.start(model, options).scores(batch)
    return np.concatenate([np.asarray(each, np.float64).ravel() for each in scores])


def _db(right: npt.NDArray[np.float64], wrong: npt.NDArray[np.float64]) -> float:
    if not np.isfinite(wrong).all():
        return -np.inf
    error = float(np.sum((wrong - right) ** 2))
    return np.inf if error == 0 else 10 * float(np.log10(np.sum(right**2) / error))

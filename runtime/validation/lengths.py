"""Whether a model follows the length of its audio.

Tracing exporters run a model once. What its Python code computed from sizes meanwhile, they keep as
numbers: the file still declares any length, but fails at others than its example's (at all of one
utterance, where its batch size was kept), or computes as many frames for all and drops the rest.
"""

from __future__ import annotations

import onnxruntime as ort

from ...passes.errors import ConfpressError
from ..inputs import SpeechSource
from ..recognition.asr import AsrModel
from ..runner import Runner

#: Durations that are tried; utterances of a validation are as short and as long.
_SECONDS = (1.5, 3.0, 9.0)
_CAUSE = (
    "its exporter has kept sizes of its example as numbers; export it by "
    "torch.onnx.export(..., dynamo=True) with dynamic shapes, or mend what its code computes from "
    "sizes"
)


def check_lengths(model: AsrModel, session: ort.InferenceSession) -> None:
    """Runs a model at several durations.

    Args:
        model: A model of whole utterances; streaming ones, and those of a fixed length, are taken
            as they are.
        session: A session of it.

    Raises:
        ConfpressError: it fails at one duration or at all, or gives as many frames for each.
    """
    if model.interface.states or model.interface.frames is not None:
        return
    longest = model.longest_seconds(session) or max(_SECONDS)
    durations = sorted({min(seconds, longest) for seconds in _SECONDS})
    frames: dict[float, int] = {}
    failed: dict[float, str] = {}
    source, runner = SpeechSource(model.frontend), Runner(model.interface, session)
    batch = model.interface.batch or 1
    for seconds in durations:
        try:
            features = source.features(source.frames(seconds))
            frames[seconds] = len(runner.scores([features] * batch)[0])
        except ConfpressError as error:
            failed[seconds] = str(error).rstrip(".")
    if failed:
        seconds, why = next(iter(failed.items()))
        runs = f"runs on {_list(frames)} of audio and" if frames else "declares any length and"
        raise ConfpressError(f"{model.path} {runs} fails on {seconds:g} s ({why}): {_CAUSE}.")
    if len(frames) > 1 and len(set(frames.values())) == 1:
        raise ConfpressError(
            f"{model.path} gives {frames[durations[0]]} frames for each of {_list(frames)} of "
            f"audio: {_CAUSE}."
        )


def _list(durations: dict[float, int]) -> str:
    return " and ".join(f"{seconds:g} s" for seconds in durations)

"""Whether sherpa-onnx can feed a model, and what it must be told of it."""

from __future__ import annotations

import numpy as np

from ...passes.errors import ConfpressError
from ...runtime.recognition.asr import AsrModel
from ...runtime.session import create_session
from ...runtime.speech import Tokens

#: The name by which sherpa-onnx finds the blank.
_BLANK = "<blk>"
#: Pieces that sherpa-onnx leaves out of texts.
_SILENT = ("SIL", "</s>")
# Lengths in frames at which the subsampling is measured, one of each remainder.
_PROBES = range(64, 80)


def refuse_other_interface(model: AsrModel) -> None:
    """Refuses what is not (features [batch, mels, frames], length int64) to scores.

    Raises:
        ConfpressError: sherpa-onnx would feed the model something else.
    """
    face = model.interface
    session = create_session(model.path)
    inputs = [value.name for value in session.get_inputs()]
    if face.length is None or inputs != [face.features, face.length]:
        raise ConfpressError(
            f"sherpa-onnx feeds features and then their lengths, but {model.path} takes "
            f"{' and '.join(inputs)}; make a `bundle` instead."
        )
    types = np.dtype(face.dtype).name, np.dtype(face.length_dtype).name
    if not face.mels_first or types != ("float32", "int64"):
        layout = "mels" if face.mels_first else "frames"
        raise ConfpressError(
            "sherpa-onnx feeds float32 features with the mels before the frames and int64 "
            f"lengths, but {model.path} takes {types[0]} with the {layout} first and {types[1]}; "
            "make a `bundle` instead."
        )
    if session.get_outputs()[0].name != face.scores:
        raise ConfpressError(
            f"sherpa-onnx decodes a model's first output, and that of {model.path} is "
            f"{session.get_outputs()[0].name}, not {face.scores}; make a `bundle` instead."
        )


def subsampling(model: AsrModel) -> int:
    """Feature frames of one frame of scores, by which sherpa-onnx tells how many it decodes.

    Raises:
        ConfpressError: it is no whole number, or some utterances have fewer frames of scores than
            sherpa-onnx would read.
    """
    session = create_session(model.path)
    silence = [np.zeros((model.interface.mels, frames), np.float32) for frames in _PROBES]
    given = [len(model.scores(session, [features])[0]) for features in silence]
    factor = round(_PROBES[0] / max(given[0], 1))
    if any(count < frames // factor for frames, count in zip(_PROBES, given, strict=True)):
        raise ConfpressError(
            f"{model.path} gives {given[-1]} frames of scores for {_PROBES[-1]} of features, fewer "
            "than sherpa-onnx would read; make a `bundle` instead."
        )
    return factor


def sherpa_tokens(model: AsrModel) -> Tokens:
    """The vocabulary with its blank, under the name that sherpa-onnx knows.

    Raises:
        ConfpressError: a piece means something else to sherpa-onnx.
    """
    assert model.tokens is not None, "checked when the result was opened"
    pieces = [*model.tokens.pieces, ""][: max(len(model.tokens.pieces), model.tokens.blank + 1)]
    pieces[model.tokens.blank] = _BLANK
    for piece in pieces:
        if piece in _SILENT or len(piece.split()) != 1:
            raise ConfpressError(
                f"sherpa-onnx cannot spell the piece '{piece}' of the vocabulary; make a `bundle` "
                "instead."
            )
    return Tokens(tuple(pieces))

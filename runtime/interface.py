"""Which input of a model takes the features, which the lengths, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..passes.errors import ConfpressError

FloatArray = npt.NDArray[np.float32]

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32)
_SCORE_NAMES = ("logprob", "log_prob", "logit", "score", "ctc")


@dataclass(frozen=True)
class Interface:
    """A CTC model's inputs and outputs.

    Attributes:
        model: What to call the model in errors.
        features: Input of log-mel features.
        mels: Features a frame.
        mels_first: Whether the layout is [batch, mels, frames], else [batch, frames, mels].
        dtype: Type of the features.
        batch: The only batch size, where the model has a fixed one.
        frames: The only number of frames, where the model has a fixed one.
        length: Input of the valid frames per utterance, [batch], where there is one.
        length_dtype: Its type.
        scores: Output of log probabilities or logits, [batch, frames, vocabulary].
        vocabulary: Number of scores a frame, blank included, where the file says so.
        score_lengths: Output of the valid frames of `scores`, where there is one.
    """

    model: str
    features: str
    mels: int
    mels_first: bool
    dtype: npt.DTypeLike
    batch: int | None
    frames: int | None
    length: str | None
    length_dtype: npt.DTypeLike
    scores: str
    vocabulary: int | None
    score_lengths: str | None

    def feeds(self, batch: Sequence[FloatArray]) -> dict[str, npt.NDArray[Any]]:
        """Inputs for one run; shorter utterances are padded with zeros at their end.

        Args:
            batch: float32 [mels, frames] each.

        Raises:
            ConfpressError: the model has a fixed size that the batch does not fit.
        """
        if self.batch is not None and self.batch != len(batch):
            raise ConfpressError(
                f"{self.model} takes batches of {self.batch} only, not of {len(batch)}."
            )
        lengths = [features.shape[1] for features in batch]
        frames = self.frames or max(lengths)
        if max(lengths) > frames:
            raise ConfpressError(f"{self.model} takes {frames} frames only, not {max(lengths)}.")
        padded = np.zeros((len(batch), self.mels, frames), dtype=self.dtype)
        for row, features in zip(padded, batch, strict=True):
            row[:, : features.shape[1]] = features
        if not self.mels_first:
            padded = np.ascontiguousarray(padded.swapaxes(1, 2))
        feeds: dict[str, npt.NDArray[Any]] = {self.features: padded}
        if self.length is not None:
            feeds[self.length] = np.array(lengths, dtype=self.length_dtype)
        return feeds

    def valid_frames(self, batch: Sequence[FloatArray], encoder_frames: int) -> list[int]:
        """Frames of the scores that belong to each utterance, where the model does not say.

        Args:
            batch: What was given to `feeds`.
            encoder_frames: Length of the scores, padding included.
        """
        padded = self.frames or max(features.shape[1] for features in batch)
        return [-(-features.shape[1] * encoder_frames // padded) for features in batch]


def read_interface(
    model: ir.Model, *, mels: int | None = None, name: str = "the model"
) -> Interface:
    """Work out a model's interface from the types and shapes of its inputs and outputs.

    Args:
        model: The model.
        mels: Features a frame of its front end, where known: it settles which axis is which.
        name: What to call the model in errors.

    Raises:
        ConfpressError: the inputs are not features, or no output is a score per frame.
    """
    inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    features = _feature_input(inputs, name)
    axis, found = _mel_axis(features, mels, name)
    lengths = [v for v in inputs if v is not features]
    if len(lengths) > 1 or not all(_is_length(v) for v in lengths):
        raise ConfpressError(
            f"{name} takes {_listing(inputs)}; only features and, at most, their lengths are "
            "supported as inputs."
        )
    scores = _score_output(model.graph.outputs, name)
    rest = [v for v in model.graph.outputs if _is_length(v)]
    shape = _dims(features)
    vocabulary = _dims(scores)[-1] if _rank(scores) == 3 else None
    return Interface(
        model=name,
        features=str(features.name),
        mels=found,
        mels_first=axis == 1,
        dtype=np.float16 if features.dtype == ir.DataType.FLOAT16 else np.float32,
        batch=shape[0],
        frames=shape[3 - axis],
        length=str(lengths[0].name) if lengths else None,
        length_dtype=np.int32 if lengths and lengths[0].dtype == ir.DataType.INT32 else np.int64,
        scores=str(scores.name),
        vocabulary=vocabulary,
        score_lengths=str(rest[0].name) if rest else None,
    )


def _feature_input(inputs: Sequence[ir.Value], name: str) -> ir.Value:
    candidates = [v for v in inputs if v.dtype in _FLOATS and _rank(v) == 3]
    if len(candidates) == 1:
        return candidates[0]
    if any(v.dtype in _FLOATS and _rank(v) == 2 for v in inputs) and not candidates:
        hint = " (two axes would be raw audio)"
    else:
        hint = ""
    raise ConfpressError(
        f"{name} takes {_listing(inputs)}, which is not speech features of [batch, mels, frames] "
        f"or [batch, frames, mels]{hint}."
    )


def _mel_axis(features: ir.Value, mels: int | None, name: str) -> tuple[int, int]:
    """The axis of the features, 1 or 2, and their number."""
    sizes = {axis: _dims(features)[axis] for axis in (1, 2)}
    fixed = {axis: size for axis, size in sizes.items() if size is not None}
    if len(fixed) == 1:
        return next(iter(fixed.items()))
    # Both fixed, or neither: the front end decides.
    matching = [axis for axis, size in sizes.items() if size in (mels, None)]
    if mels is not None and len(matching) == 1:
        return matching[0], mels
    raise ConfpressError(
        f"{name}: the shape of '{features.name}' does not tell which axis holds the features; "
        "fix that axis' size in the model, or describe the front end."
    )


def _score_output(outputs: Sequence[ir.Value], name: str) -> ir.Value:
    candidates = [v for v in outputs if v.dtype in (*_FLOATS, None) and _rank(v) in (3, None)]
    if len(candidates) > 1:
        named = [v for v in candidates if any(n in str(v.name).lower() for n in _SCORE_NAMES)]
        candidates = named or candidates
    if not candidates:
        raise ConfpressError(
            f"{name} gives {_listing(outputs)}; none is [batch, frames, vocabulary] of "
            "log probabilities."
        )
    return candidates[0]


def _is_length(value: ir.Value) -> bool:
    return value.dtype in _INTEGERS and _rank(value) in (1, None)


def _rank(value: ir.Value) -> int | None:
    return None if value.shape is None else len(value.shape)


def _dims(value: ir.Value) -> tuple[int | None, ...]:
    """Sizes by axis, None where dynamic."""
    return tuple(d if isinstance(d, int) else None for d in value.shape or ())


def _listing(values: Sequence[ir.Value]) -> str:
    if not values:
        return "nothing"
    return ", ".join(
        f"'{v.name}' {v.dtype.name.lower() if v.dtype else 'of unknown type'} "
        f"[{', '.join(str(d) for d in v.shape) if v.shape is not None else '?'}]"
        for v in values
    )

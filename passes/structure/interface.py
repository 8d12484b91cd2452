"""What a speech model takes and gives: features, lengths, log-probabilities, caches."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from enum import StrEnum

import onnx_ir as ir

from ..errors import ConfpressError
from .graph import dims
from .modules import Cache

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
_LENGTHS = (ir.DataType.INT64, ir.DataType.INT32)
#: Features per frame of any front end: 13 cepstra to stacked mel frames.
_FEATURE_RANGE = range(12, 1025)
#: What the names of a state and of its successor may differ in.
#: WeNet writes ``r_`` before what it returns.
_WORDS_OF_TIME = frozenset(("next", "new", "past", "present", "last", "prev", "r"))
#: For caches only: `input_lengths` and `output_lengths` are no state.
_WORDS_OF_PLACE = frozenset(("in", "out", "input", "output"))
#: Sizes that tell the feature axis where both axes have a fixed size, the most usual first.
_USUAL_MELS = (80, 128, 64, 40, 160, 240, 320)


class Layout(StrEnum):
    """Order of the axes of the features: batch, feature, time or batch, time, feature."""

    FEATURES_FIRST = "BFT"
    TIME_FIRST = "BTF"


@dataclasses.dataclass(frozen=True, eq=False)
class SpeechInterface:
    """The inputs and outputs of a model over features.

    Attributes:
        features: float [batch, features, time] or [batch, time, features].
        layout: Which of the two.
        n_features: Features per frame.
        frames: Number of frames where it is fixed, None where it varies.
        lengths: int [batch], frames of every utterance; None if the model takes none.
        mask: [batch, time], true in frames that count; None if the model takes none.
        logprobs: float [batch, frames, symbols] (or the encoder's frames).
        output_lengths: int [batch]; None if the model gives none.
        caches: Streaming states, counters of frames among them: inputs with the outputs that
            hand them on.
    """

    features: ir.Value
    layout: Layout
    n_features: int
    frames: int | None
    lengths: ir.Value | None
    mask: ir.Value | None
    logprobs: ir.Value
    output_lengths: ir.Value | None
    caches: tuple[Cache, ...]

    def input_shapes(self, batch: int, frames: int) -> dict[str, tuple[int, ...]]:
        """The shapes of features, lengths and mask by name; caches keep sizes that are fixed."""
        axes = (
            (self.n_features, frames)
            if self.layout is Layout.FEATURES_FIRST
            else (frames, self.n_features)
        )
        shapes: dict[str, tuple[int, ...]] = {self.features.name or "": (batch, *axes)}
        if self.lengths is not None:
            shapes[self.lengths.name or ""] = (batch,)
        if self.mask is not None:
            shapes[self.mask.name or ""] = (batch, frames)
        return shapes


def speech_interface(model: ir.Model) -> SpeechInterface:
    """Finds out what every input and output of a speech model is, by type and shape.

    Raises:
        ConfpressError: No input can be features; the sentence says what the inputs are.
    """
    inputs = [v for v in model.graph.inputs if not v.is_initializer()]
    candidates = [v for v in inputs if _feature_axis(v) is not None]
    if not candidates:
        raise ConfpressError(_refusal(inputs))
    states = _named_states(inputs, model.graph.outputs)
    features = next((v for v in candidates if v not in states), candidates[0])
    axis = _feature_axis(features)
    shape = dims(features)
    assert axis is not None, "a candidate has a feature axis"
    assert shape is not None, "a candidate has a shape"
    n_features = shape[axis]
    assert n_features is not None, "the feature axis has a fixed size"
    outputs = model.graph.outputs
    named = _named_states([v for v in inputs if v is not features], outputs)
    others = [v for v in inputs if v is not features and v not in named]
    results = [v for v in outputs if v not in named.values()]
    floats = [v for v in results if v.dtype in _FLOATS]
    ranked = [v for v in floats if len(dims(v) or ()) == 3] or floats
    if not ranked:
        raise ConfpressError(
            "the model has no floating-point output, so it gives no log-probabilities; its outputs "
            f"are {_listed(model.graph.outputs)}"
        )
    logprobs = ranked[0]
    return SpeechInterface(
        features=features,
        layout=Layout.FEATURES_FIRST if axis == 1 else Layout.TIME_FIRST,
        n_features=n_features,
        frames=shape[3 - axis],
        lengths=next((v for v in others if _is_lengths(v)), None),
        mask=next((v for v in others if _is_mask(v)), None),
        logprobs=logprobs,
        output_lengths=next((v for v in results if _is_lengths(v)), None),
        caches=(
            *(Cache(before, after) for before, after in named.items()),
            *_caches(others, [v for v in floats if v is not logprobs]),
        ),
    )


def _feature_axis(value: ir.Value) -> int | None:
    """The axis of the features of [batch, ., .]: the one of fixed size, the more usual of two."""
    shape = dims(value)
    if value.dtype not in _FLOATS or shape is None or len(shape) != 3:
        return None
    fixed = [axis for axis in (1, 2) if shape[axis] in _FEATURE_RANGE]
    if len(fixed) == 2:
        return next((a for size in _USUAL_MELS for a in fixed if shape[a] == size), None)
    return fixed[0] if fixed else None


def _is_lengths(value: ir.Value) -> bool:
    return value.dtype in _LENGTHS and len(dims(value) or ()) == 1


def _is_mask(value: ir.Value) -> bool:
    return (value.dtype in _LENGTHS or value.dtype == ir.DataType.BOOL) and len(
        dims(value) or ()
    ) == 2


def _named_states(
    inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]
) -> dict[ir.Value, ir.Value]:
    """Pairs states with the outputs whose names say the same but for "next" and its like."""

    def pairs(
        dtypes: Sequence[ir.DataType], ignored: frozenset[str], least_rank: int
    ) -> dict[ir.Value, ir.Value]:
        def key(value: ir.Value) -> tuple[object, ...]:
            words = re.split(r"[^a-z0-9]+", (value.name or "").lower())
            return tuple(w for w in words if w not in ignored), value.dtype, len(dims(value) or ())

        left = {key(v): v for v in outputs if v.dtype in dtypes and key(v)[0]}
        wanted = [v for v in inputs if v.dtype in dtypes and len(dims(v) or ()) >= least_rank]
        return {v: left.pop(key(v)) for v in wanted if key(v) in left}

    caches = pairs(_FLOATS, _WORDS_OF_TIME | _WORDS_OF_PLACE, 2)
    # Counters of frames go with caches; alone, integers are lengths.
    return {**caches, **pairs(_LENGTHS, _WORDS_OF_TIME, 1)} if caches else {}


def _caches(inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> tuple[Cache, ...]:
    """Pairs each state with the output whose axes agree best, the first declared of equals."""
    left = list(outputs)
    caches = []
    for value in inputs:
        if value.dtype not in _FLOATS or len(dims(value) or ()) < 2:
            continue
        successor = max(left, key=lambda output: _agreement(value, output), default=None)
        if successor is not None and _agreement(value, successor) >= 0:
            left.remove(successor)
        else:
            successor = None
        caches.append(Cache(value, successor))
    return tuple(caches)


def _agreement(value: ir.Value, output: ir.Value) -> int:
    """How many axes have the same size or name; -1 if ranks or fixed sizes differ."""
    before, after = value.shape or (), output.shape or ()
    pairs = list(zip(before, after, strict=False))
    differ = any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)
    return -1 if differ or len(before) != len(after) else sum(a == b for a, b in pairs)


def _refusal(inputs: Sequence[ir.Value]) -> str:
    listed = _listed(inputs)
    expected = "floating-point features [batch, features, time] or [batch, time, features]"
    if any(_looks_like_image(v) for v in inputs):
        return f"the model takes images, not {expected}: its inputs are {listed}"
    if any(v.dtype in _FLOATS and len(dims(v) or ()) == 2 for v in inputs):
        return (
            "the model takes raw audio or single vectors; Confpress optimises models over "
            f"{expected}: its inputs are {listed}"
        )
    if inputs and all(v.dtype not in _FLOATS for v in inputs):
        return f"the model takes numbers of tokens, not {expected}: its inputs are {listed}"
    return f"no input of the model is {expected}: its inputs are {listed or 'none'}"


def _looks_like_image(value: ir.Value) -> bool:
    shape = dims(value)
    return shape is not None and len(shape) == 4 and (1 in shape[1:] or 3 in shape[1:])


def _listed(values: Sequence[ir.Value]) -> str:
    """``audio_signal float32 [batch, 80, time]``, joined."""
    return ", ".join(
        f"{v.name} {'' if v.dtype is None else str(v.dtype).lower()} "
        f"{'of unknown shape' if v.shape is None else _shape(v.shape)}"
        for v in values
    )


def _shape(shape: ir.Shape) -> str:
    names = (str(d) if isinstance(d, int) else (d.value or "?") for d in shape)
    return f"[{', '.join(names)}]"

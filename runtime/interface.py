"""What to feed a speech model and which output holds scores, as plain data for running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..passes.errors import ConfpressError
from ..passes.structure import Kind, recognise
from ..passes.structure.interface import Layout, speech_interface
from .place import Place, read_place

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]


#: Metadata of streaming models: as icefall's exports have it, and NeMo's for sherpa-onnx.
_WINDOW_KEYS = ("T", "window_size")
_SHIFT_KEYS = ("decode_chunk_len", "chunk_shift")
#: WeNet's counts a chunk in encoder frames.
_WENET_WINDOW_KEYS = ("decoding_window",)
_WENET_CHUNK_KEYS = ("chunk_size",)
_WENET_FACTOR_KEYS = ("subsampling_rate",)


@dataclass(frozen=True)
class State:
    """What a streaming model takes from one chunk to the next.

    Attributes:
        input: Input that holds it.
        output: Output that is the next one.
        shape: Sizes by axis; None where dynamic.
        dtype: Type of its elements.
        batch_axis: The axis of the batch: the first, or behind that of the layers.
    """

    input: str
    output: str
    shape: tuple[int | None, ...]
    dtype: npt.DTypeLike
    batch_axis: int = 0

    def initial(self, batch: int) -> Array:
        """Zeros, and nothing along an axis that grows."""
        sizes = [size or 0 for size in self.shape]
        sizes[self.batch_axis] = self.shape[self.batch_axis] or batch
        return np.zeros(sizes, self.dtype)


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs of a CTC model, or of a transducer's encoder.

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
        mask: Input that is true in valid frames, [batch, frames], where there is one.
        mask_dtype: Its type.
        scores: Output of log probabilities or logits, [batch, frames, vocabulary]; a transducer's
            encoder has its frames there, [batch, frames, channels].
        vocabulary: Number of scores a frame, blank included, where the file says so.
        score_lengths: Output of the valid frames of `scores`, where there is one.
        states: What a streaming model hands on; none where the model takes whole utterances.
        chunk_window: Frames that a streaming model reads at once, where its metadata says so.
        chunk_shift: Frames from one chunk to the next, likewise.
        scores_turned: Whether the output has its frames last, as encoders of NeMo do.
        encoder: Whether `scores` are no scores, but what a transducer's joiner takes.
        place: Inputs that tell a chunk's place in its utterance, where the caller has to.
        factor: Feature frames of a frame of the scores, as far as the model's layers tell.
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
    mask: str | None
    mask_dtype: npt.DTypeLike
    scores: str
    vocabulary: int | None
    score_lengths: str | None
    states: tuple[State, ...] = ()
    chunk_window: int | None = None
    chunk_shift: int | None = None
    scores_turned: bool = False
    encoder: bool = False
    place: Place | None = None
    factor: int | None = None

    @property
    def knows_padding(self) -> bool:
        """Whether the model is told which frames are padding."""
        return self.length is not None or self.mask is not None

    @property
    def window(self) -> int | None:
        """Frames of every run, where the model takes no other number."""
        told = self.place is not None and self.place.mask is not None
        return self.chunk_window if self.frames is None and told else self.frames

    def alone(self, features: FloatArray) -> list[FloatArray]:
        """One utterance as a batch; of its copies where the model takes several only."""
        return [features] * (self.batch or 1)

    def feeds(
        self, batch: Sequence[FloatArray], states: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """Inputs for one run; shorter utterances are padded with zeros at their end.

        Args:
            batch: float32 [mels, frames] each.
            states: What `carried` made of the run before, of a streaming model; None feeds the
                initial states.

        Raises:
            ConfpressError: the model has a fixed size that the batch does not fit.
        """
        if self.batch is not None and self.batch != len(batch):
            raise ConfpressError(
                f"{self.model} takes batches of {self.batch} only, not of {len(batch)}."
            )
        lengths = np.array([features.shape[1] for features in batch])
        frames = self.frames or int(lengths.max())
        if lengths.max() > frames:
            raise ConfpressError(f"{self.model} takes {frames} frames only, not {lengths.max()}.")
        padded = np.zeros((len(batch), self.mels, frames), dtype=self.dtype)
        for row, features in zip(padded, batch, strict=True):
            row[:, : features.shape[1]] = features
        if not self.mels_first:
            padded = np.ascontiguousarray(padded.swapaxes(1, 2))
        feeds: dict[str, Array] = {self.features: padded}
        for state in self.states:
            feeds[state.input] = (
                state.initial(len(batch)) if states is None else states[state.output]
            )
        if self.place is not None:
            feeds |= self.place.feeds(0 if states is None else int(states[self.place.offset]))
        if self.length is not None:
            feeds[self.length] = lengths.astype(self.length_dtype)
        if self.mask is not None:
            feeds[self.mask] = (np.arange(frames) < lengths[:, None]).astype(self.mask_dtype)
        return feeds

    def carried(
        self, found: Mapping[str, Array], states: Mapping[str, Array] | None
    ) -> dict[str, Array]:
        """What a streaming model's next run is given.

        Args:
            found: The outputs of a run.
            states: What that run was given; None if it was the first.
        """
        carried = {state.output: found[state.output] for state in self.states}
        if self.place is not None:
            given = 0 if states is None else int(states[self.place.offset])
            carried[self.place.offset] = np.array(given + found[self.scores].shape[1])
        return carried

    def valid_frames(self, batch: Sequence[FloatArray], encoder_frames: int) -> list[int]:
        """Frames of the scores that belong to each utterance, where the model does not say.

        Args:
            batch: What was given to `feeds`.
            encoder_frames: Length of the scores, padding included.
        """
        padded = self.frames or max(features.shape[1] for features in batch)
        return [-(-features.shape[1] * encoder_frames // padded) for features in batch]


def read_interface(model: ir.Model, *, name: str = "the model") -> Interface:
    """Work out a model's interface from the types and shapes of its inputs and outputs.

    Args:
        model: The model.
        name: What to call the model in errors.

    Raises:
        ConfpressError: the inputs are not features alone, or no output is a score per frame.
    """
    try:
        found = speech_interface(model)
    except ConfpressError as error:
        raise ConfpressError(f"{name}: {str(error).rstrip('.')}.") from error
    states = {cache.input: cache.output for cache in found.caches}
    place = read_place(model)
    told = place.inputs if place is not None else frozenset[str]()
    used = {found.features, found.lengths, found.mask, *states}
    for value in model.graph.inputs:
        if value.is_initializer() or (value in used and states.get(value, value) is not None):
            continue
        if value.name in told:
            continue
        raise ConfpressError(
            f"{name} takes '{value.name}' besides features, and none of its outputs hands it on "
            "from one chunk of audio to the next."
        )
    sizes = _sizes(found.features)
    scores = _sizes(found.logprobs)
    turned = len(scores) == 3 and scores[1] is not None and scores[2] is None
    window, shift = _declared_chunk(model)
    return Interface(
        model=name,
        features=str(found.features.name),
        mels=found.n_features,
        mels_first=found.layout is Layout.FEATURES_FIRST,
        dtype=_dtype(found.features),
        batch=sizes[0],
        frames=found.frames,
        length=_name(found.lengths),
        length_dtype=_dtype(found.lengths),
        mask=_name(found.mask),
        mask_dtype=_dtype(found.mask),
        scores=str(found.logprobs.name),
        vocabulary=scores[1 if turned else -1] if scores else None,
        score_lengths=_name(found.output_lengths),
        states=tuple(
            State(
                str(before.name),
                str(after.name),
                _state_sizes(before, place),
                _dtype(before),
                _batch_axis(before, found.features),
            )
            for before, after in states.items()
            if after is not None
        ),
        chunk_window=window,
        chunk_shift=shift,
        scores_turned=turned,
        place=place,
        factor=_factor(model) if states and found.frames is not None and shift is None else None,
    )


def _declared_chunk(model: ir.Model) -> tuple[int | None, int | None]:
    """Window and shift in feature frames, as far as the metadata has them."""
    chunk, factor = (_metadata(model, keys) for keys in (_WENET_CHUNK_KEYS, _WENET_FACTOR_KEYS))
    if chunk is not None and factor is not None:
        return _metadata(model, _WENET_WINDOW_KEYS), chunk * factor
    return _metadata(model, _WINDOW_KEYS), _metadata(model, _SHIFT_KEYS)


def _state_sizes(state: ir.Value, place: Place | None) -> tuple[int | None, ...]:
    """Sizes of a state; the cache of keys of a chunk with a place begins with frames of its own."""
    sizes = _sizes(state)
    if place is None or not place.cache:
        return sizes
    return tuple(place.cache if size is None else size for size in sizes)


def _factor(model: ir.Model) -> int | None:
    """How many times fewer frames the subsampling leaves."""
    found = recognise(model).of_kind(Kind.SUBSAMPLING)
    return found[0].subsampling.factor if found else None


def _metadata(model: ir.Model, keys: Sequence[str]) -> int | None:
    """The first of the keys that holds a positive number."""
    found = (model.metadata_props.get(key, "") for key in keys)
    return next((int(text) for text in found if text.isdigit() and int(text)), None)


def _name(value: ir.Value | None) -> str | None:
    return None if value is None else str(value.name)


def _batch_axis(state: ir.Value, features: ir.Value) -> int:
    """The axis that is called as the batch of the features is; the first where none is."""
    shape, batch = state.shape or (), (features.shape or (None,))[0]
    if not isinstance(batch, ir.SymbolicDim) or batch.value is None:
        return 0
    return next((axis for axis, size in enumerate(shape) if size == batch), 0)


def _dtype(value: ir.Value | None) -> npt.DTypeLike:
    return np.int64 if value is None or value.dtype is None else value.dtype.numpy().type


def _sizes(value: ir.Value) -> tuple[int | None, ...]:
    """Sizes by axis, None where dynamic."""
    return tuple(d if isinstance(d, int) else None for d in value.shape or ())

"""A session together with what its inputs and outputs mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime as ort

from ..passes.errors import ConfpressError
from .chunks import Chunks, find_chunks
from .interface import FloatArray, Interface, read_interface
from .session import DEFAULT_OPTIONS, SessionOptions, create_session, run_session


@dataclass(frozen=True)
class Runner:
    """Runs features through a session."""

    interface: Interface
    session: ort.InferenceSession

    @classmethod
    def start(cls, model: ir.Model, options: SessionOptions = DEFAULT_OPTIONS) -> Runner:
        """Start a session of a model in memory.

        Raises:
            ConfpressError: its inputs are not features, or ONNX Runtime refuses it.
        """
        return cls(read_interface(model), create_session(model, options))

    @cached_property
    def chunks(self) -> Chunks:
        """How a streaming model's chunks are cut from features.

        Raises:
            ConfpressError: it cannot be found out, or the model fails.
        """
        return find_chunks(self.interface, self._encoder_frames)

    def outputs(self, batch: Sequence[FloatArray]) -> dict[str, list[npt.NDArray[Any]]]:
        """Every output for every utterance; what runs along the scores' frames is cut to them.

        A streaming model starts with its initial states.

        Args:
            batch: float32 [mels, frames] each.

        Returns:
            By output name, an array for each utterance.

        Raises:
            ConfpressError: the model fails, or gives something that is not scores.
        """
        return next(self.stream([batch]))

    def stream(
        self, chunks: Iterable[Sequence[FloatArray]]
    ) -> Iterator[dict[str, list[npt.NDArray[Any]]]]:
        """`outputs` of chunk after chunk, a streaming model's states carried from each to the next.

        Args:
            chunks: Batches of float32 [mels, frames], of one size.

        Raises:
            ConfpressError: as `outputs`.
        """
        names = [output.name for output in self.session.get_outputs()]
        states: dict[str, npt.NDArray[Any]] | None = None
        for chunk in chunks:
            found = self._run(chunk, states, names)
            states = self.interface.carried(found, states)
            yield self._by_utterance(found, chunk)

    def _run(
        self,
        batch: Sequence[FloatArray],
        states: Mapping[str, npt.NDArray[Any]] | None,
        names: Sequence[str],
    ) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name, the scores' frames before what is in them."""
        arrays = run_session(self.session, self.interface.feeds(batch, states), names)
        found = dict(zip(names, arrays, strict=True))
        if self.interface.scores_turned:
            found[self.interface.scores] = found[self.interface.scores].swapaxes(1, 2)
        return found

    def _by_utterance(
        self, found: dict[str, npt.NDArray[Any]], batch: Sequence[FloatArray]
    ) -> dict[str, list[npt.NDArray[Any]]]:
        valid = self._valid(found, batch)
        frames = found[self.interface.scores].shape[1]
        for state in self.interface.states:
            array = np.moveaxis(found[state.output], state.batch_axis, 0)
            # States of one stream alone need no axis for it.
            alone = self.interface.batch == 1 and array.shape[0] != 1
            found[state.output] = array[None] if alone else array
        return {
            name: [
                row[:count] if array.ndim == 3 and array.shape[1] == frames else row
                for row, count in zip(array, valid, strict=True)
            ]
            for name, array in found.items()
            if array.ndim and array.shape[0] == len(batch)
        }

    def scores(self, batch: Sequence[FloatArray]) -> list[FloatArray]:
        """Log probabilities or logits of a batch, without the padding.

        A streaming model reads each utterance alone, chunk by chunk.

        Args:
            batch: float32 [mels, frames] each.

        Returns:
            float32 [encoder frames, vocabulary] for each utterance.

        Raises:
            ConfpressError: the model fails, or gives something that is not scores.
        """
        if self.interface.states:
            return [self._chunk_by_chunk(features) for features in batch]
        return self._whole(batch)

    def _chunk_by_chunk(self, features: FloatArray) -> FloatArray:
        chunks = ([chunk] for chunk in self.chunks.cut(features))
        scores = self.interface.scores
        return np.concatenate([each[scores][0] for each in self.stream(chunks)], dtype=np.float32)

    def _encoder_frames(self, frames: int) -> int:
        """Frames of the scores that one run gives."""
        silence = np.zeros((self.interface.mels, frames), dtype=np.float32)
        return len(self._whole([silence] * (self.interface.batch or 1))[0])

    def _whole(self, batch: Sequence[FloatArray]) -> list[FloatArray]:
        face = self.interface
        names = [face.scores] if face.score_lengths is None else [face.scores, face.score_lengths]
        found = self._run(batch, None, names)
        valid = self._valid(found, batch)
        return [
            np.asarray(row[:count], dtype=np.float32)
            for row, count in zip(found[face.scores], valid, strict=True)
        ]

    def _valid(self, found: dict[str, npt.NDArray[Any]], batch: Sequence[FloatArray]) -> list[int]:
        """Frames of the scores that belong to each utterance."""
        face = self.interface
        scores = found[face.scores]
        if scores.ndim != 3 or scores.shape[0] != len(batch):
            raise ConfpressError(
                f"{face.model}: '{face.scores}' is {list(scores.shape)}, "
                "not [batch, frames, vocabulary]."
            )
        if face.score_lengths is None:
            return face.valid_frames(batch, scores.shape[1])
        return [int(count) for count in found[face.score_lengths]]

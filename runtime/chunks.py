"""How a streaming model's chunks are cut from features.

A run reads a *window* of frames and gives the scores of a *chunk* of them; the next window begins
one chunk later. Where the window is longer than the chunk, successive windows overlap: in what the
model looks ahead at, or in the frames that its subsampling needs beyond its last stride.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..passes.errors import ConfpressError
from .interface import FloatArray, Interface

#: Chunk of a model that takes any, in frames: 0.64 s at a hop of 10 ms.
DEFAULT_SHIFT = 64
# Lengths at which the subsampling of a model is measured, in frames.
_PROBES = (64, 128)
# The longest overlap that is looked for, in frames.
_MOST_OVERLAP = 256


@dataclass(frozen=True)
class Chunks:
    """Sizes in feature frames.

    Attributes:
        window: What one run reads.
        shift: From the beginning of one window to that of the next.
    """

    window: int
    shift: int

    def cut(self, features: FloatArray) -> list[FloatArray]:
        """Windows of an utterance; every frame begins in the chunk of one of them.

        The last windows reach beyond the end, where the last frame is held: features differ in
        which number is silence.

        Args:
            features: float32 [mels, frames].

        Returns:
            float32 [mels, window] each.
        """
        starts = range(0, features.shape[1], self.shift)
        missing = starts[-1] + self.window - features.shape[1]
        padded = np.pad(features, ((0, 0), (0, max(missing, 0))), mode="edge")
        return [padded[:, start : start + self.window] for start in starts]


def find_chunks(face: Interface, encoder_frames: Callable[[int], int]) -> Chunks:
    """Find out how a model's chunks are cut.

    The window is what the model's metadata or the fixed size of its input declares, else the
    shortest that gives the frames of a chunk. The chunk is what the metadata declares, else the
    whole window, else `DEFAULT_SHIFT` rounded up to whole frames of the encoder.

    Args:
        face: The interface of a streaming model.
        encoder_frames: Frames of the scores that a run of so many feature frames gives.

    Raises:
        ConfpressError: the model declares no chunk and gives frames that do not divide its window,
            or none at all.
    """
    window = face.frames or face.chunk_window
    if window is not None:
        return Chunks(window, face.chunk_shift or _whole_window(face, window, encoder_frames))
    short, long = (encoder_frames(frames) for frames in _PROBES)
    if long <= short:
        raise ConfpressError(
            f"{face.model} gives {long} frames of scores for {_PROBES[1]} frames of features and "
            f"{short} for {_PROBES[0]}, so that its chunks cannot be found."
        )
    subsampling = (_PROBES[1] - _PROBES[0]) // (long - short)
    wanted = -(-(face.chunk_shift or DEFAULT_SHIFT) // subsampling)
    shift = wanted * subsampling
    for window in range(shift, shift + _MOST_OVERLAP + 1):
        if encoder_frames(window) >= wanted:
            return Chunks(window, shift)
    raise ConfpressError(
        f"{face.model} gives fewer than {wanted} frames of scores for up to "
        f"{shift + _MOST_OVERLAP} frames of features."
    )


def _whole_window(face: Interface, window: int, encoder_frames: Callable[[int], int]) -> int:
    given = encoder_frames(window)
    if face.factor is not None and 0 < given * face.factor < window:
        return given * face.factor
    if not given or window % given:
        raise ConfpressError(
            f"{face.model} takes {window} frames and gives {given} frames of scores, so that its "
            "windows overlap; say by how much: --chunk, or `chunk_shift` in the model's metadata."
        )
    return window

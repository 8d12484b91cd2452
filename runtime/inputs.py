"""Features to run models on: real speech of any duration, or noise that resembles it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.signal import lfilter

from ..passes.errors import ConfpressError
from .interface import FloatArray
from .speech.audio import read_audio
from .speech.frontend import FrontEnd
from .speech.manifest import Utterance

# Log-mel features hardly change from one frame to the next (10 ms) or between neighbouring
# filters; these correlations are typical of read speech.
_FRAME_CORRELATION = 0.9
_MEL_CORRELATION = 0.8
_LARGEST = 4.0
# Lengths of the utterances of a batch, as parts of the longest.
_SHORTEST_PART = 0.5


@dataclass
class SpeechSource:
    """Features of a wanted length, from recordings joined end to end, or else from noise.

    Attributes:
        frontend: How features are made.
        utterances: The recordings; none means noise.
        seed: Of the noise.
    """

    frontend: FrontEnd
    utterances: Sequence[Utterance] = ()
    seed: int = 0
    _audio: dict[int, FloatArray] = field(default_factory=dict)

    def frames(self, seconds: float) -> int:
        """Feature frames of so many seconds."""
        return max(round(seconds / self.frontend.seconds_per_frame), 1)

    def features(self, frames: int, index: int = 0) -> FloatArray:
        """Features of exactly `frames` frames.

        Args:
            frames: How many.
            index: Which: others begin at another recording, or are other noise.

        Returns:
            float32 [mels, frames].

        Raises:
            ConfpressError: a recording cannot be read.
        """
        if not self.utterances:
            return synthetic_features(self.frontend.n_mels, frames, seed=self.seed + index)
        samples = frames * self.frontend.hop_length
        parts: list[FloatArray] = []
        while sum(part.size for part in parts) < samples:
            parts.append(self._read((index + len(parts)) % len(self.utterances)))
        audio = np.concatenate(parts)[:samples]
        return np.ascontiguousarray(self.frontend.features(audio)[:, :frames])

    def batch(self, frames: int, size: int, *, ragged: bool = False) -> list[FloatArray]:
        """A batch whose first utterance has `frames` frames.

        Args:
            frames: Length of the longest utterance.
            size: Utterances.
            ragged: Whether the others are shorter, down to half of it, else all are as long.

        Raises:
            ConfpressError: the batch is empty, or a recording cannot be read.
        """
        if size < 1 or frames < 1:
            raise ConfpressError(f"a batch of {size} utterances of {frames} frames is empty.")
        lengths = np.linspace(1.0, _SHORTEST_PART if ragged and size > 1 else 1.0, size) * frames
        return [self.features(max(int(n), 1), index) for index, n in enumerate(lengths)]

    def _read(self, index: int) -> FloatArray:
        if index not in self._audio:
            path = self.utterances[index].path
            self._audio[index] = read_audio(path, self.frontend.sample_rate)
        return self._audio[index]


def synthetic_features(mels: int, frames: int, *, seed: int = 0) -> FloatArray:
    """Noise with the correlations of normalised log-mel features, mean 0 and deviation 1 each.

    Args:
        mels: Features a frame.
        frames: Length.
        seed: Equal seeds give equal noise.

    Returns:
        float32 [mels, frames] within ±4.
    """
    noise = np.random.default_rng(seed).standard_normal((mels, frames))
    for axis, correlation in ((1, _FRAME_CORRELATION), (0, _MEL_CORRELATION)):
        noise = lfilter([np.sqrt(1 - correlation**2)], [1, -correlation], noise, axis=axis)
    noise -= noise.mean(axis=1, keepdims=True)
    noise /= noise.std(axis=1, keepdims=True) + 1e-5
    return np.clip(noise, -_LARGEST, _LARGEST).astype(np.float32)

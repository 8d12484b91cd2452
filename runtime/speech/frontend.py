"""Log-mel features, described by a small JSON file beside a model.

The defaults are the front end of NeMo's Conformer recipes: pre-emphasis, a centred
short-time Fourier transform with a symmetric Hann window, Slaney mel filters, the
logarithm, and a mean and standard deviation per feature over the utterance.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...passes.errors import ConfpressError

FloatArray = npt.NDArray[np.float32]

FILE_NAME = "frontend.json"


class FrontEnd(BaseModel):
    """How audio becomes the features that a model takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate: int = Field(default=16000, gt=0, description="samples per second")
    preemphasis: float = Field(default=0.97, ge=0.0, lt=1.0, description="0 switches it off")
    n_fft: int = Field(default=512, gt=1, description="points of the Fourier transform")
    window_length: int = Field(default=400, gt=1, description="samples, symmetric Hann window")
    hop_length: int = Field(default=160, gt=0, description="samples between two frames")
    n_mels: int = Field(default=80, gt=0, description="mel filters, Slaney scale and norm")
    f_min: float = Field(default=0.0, ge=0.0, description="lowest frequency in Hz")
    f_max: float = Field(default=8000.0, gt=0.0, description="highest frequency in Hz")
    log_offset: float = Field(default=2.0**-24, gt=0.0, description="log(x + log_offset)")
    normalization: Literal["per_feature", "none"] = Field(
        default="per_feature", description="mean and standard deviation over the utterance"
    )
    std_epsilon: float = Field(default=1e-5, ge=0.0, description="added to the deviation")

    @model_validator(mode="after")
    def _check_ranges(self) -> FrontEnd:
        if self.window_length > self.n_fft:
            raise ValueError("window_length must not exceed n_fft")
        if not self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError("f_min < f_max <= sample_rate / 2 must hold")
        return self

    @property
    def seconds_per_frame(self) -> float:
        """Seconds between two frames."""
        return self.hop_length / self.sample_rate

    def frames(self, samples: int) -> int:
        """Number of frames of an utterance of `samples` samples: whole hops, as NeMo counts."""
        return max(samples // self.hop_length, 1)

    def features(self, audio: FloatArray) -> FloatArray:
        """Compute normalised log-mel features.

        Args:
            audio: float32 [samples], mono, at `sample_rate`.

        Returns:
            float32 [n_mels, frames] with frames = samples // hop_length + 1.

        Raises:
            ConfpressError: `audio` is empty or not one-dimensional.
        """
        if audio.ndim != 1 or audio.size == 0:
            raise ConfpressError(
                f"features need mono audio with at least one sample, not an array {audio.shape}."
            )
        mel = self._mel_power(np.asarray(audio, dtype=np.float32))
        log_mel: FloatArray = np.log(mel + np.float32(self.log_offset))
        if self.normalization == "none":
            return log_mel
        return self._normalise(log_mel)

    def _mel_power(self, audio: FloatArray) -> FloatArray:
        emphasised = audio.copy()
        emphasised[1:] -= np.float32(self.preemphasis) * audio[:-1]
        padded = np.pad(emphasised, self.n_fft // 2)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft)
        frames = windows[:: self.hop_length][: self.frames(audio.size)]
        spectrum = np.fft.rfft(frames * _window(self.window_length, self.n_fft), axis=-1)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        filters = mel_filters(self.sample_rate, self.n_fft, self.n_mels, self.f_min, self.f_max)
        return np.asarray(filters @ power.T, dtype=np.float32)

    def _normalise(self, log_mel: FloatArray) -> FloatArray:
        centred = log_mel - log_mel.mean(axis=1, keepdims=True)
        # The unbiased estimate, as NeMo has it; a single frame has none and stays at zero.
        freedom = max(log_mel.shape[1] - 1, 1)
        deviation = np.sqrt((centred**2).sum(axis=1, keepdims=True) / freedom)
        return np.asarray(centred / (deviation + self.std_epsilon), dtype=np.float32)

    def save(self, path: Path) -> None:
        """Write the configuration as JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> FrontEnd:
        """Read a configuration.

        Raises:
            ConfpressError: the file cannot be read, or a key or value is not allowed.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfpressError(f"cannot read the front end {path}: {error}.") from error
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ConfpressError(
                f"{path}: {key}: {first['msg']}; allowed keys: {', '.join(cls.model_fields)}."
            ) from error

    @classmethod
    def beside(cls, model: Path) -> FrontEnd:
        """The front end described beside a model file, or the default where there is none.

        `<stem>.frontend.json` goes before `frontend.json`.
        """
        for candidate in (model.with_name(f"{model.stem}.{FILE_NAME}"), model.with_name(FILE_NAME)):
            if candidate.is_file():
                return cls.load(candidate)
        return cls()


@lru_cache(maxsize=8)
def _window(length: int, n_fft: int) -> FloatArray:
    """Symmetric Hann window, centred in `n_fft` points."""
    left = (n_fft - length) // 2
    return np.pad(np.hanning(length), (left, n_fft - length - left)).astype(np.float32)


@lru_cache(maxsize=8)
def mel_filters(
    sample_rate: int, n_fft: int, n_mels: int, f_min: float, f_max: float
) -> FloatArray:
    """Triangular mel filters on Slaney's scale, each of area one (Slaney 1998, Auditory Toolbox).

    Returns:
        float32 [n_mels, n_fft // 2 + 1].
    """
    edges = _mel_to_hz(np.linspace(_hz_to_mel(f_min), _hz_to_mel(f_max), n_mels + 2))
    bins = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (upper - lower)), dtype=np.float32)


# Slaney's scale: 3 mels per 200 Hz up to 1 kHz, then 27 mels per factor of 6.4.
_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return float(_BREAK_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, above)

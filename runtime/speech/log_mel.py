"""Log-mel features with nothing but numpy, as packages for devices carry them.

Pre-emphasis, a centred short-time Fourier transform with a symmetric Hann window, Slaney mel
filters, the logarithm, and a mean and standard deviation per feature over the utterance: the
front end of NeMo's Conformer recipes. Or, for the same models, the one that sherpa-onnx has.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...passes.errors import ConfpressError
from .sherpa_frames import sherpa_frame_count, sherpa_windows

FloatArray = npt.NDArray[np.float32]
Normalization = Literal["per_feature", "none"]
Framing = Literal["nemo", "sherpa-onnx"]


def log_mel(
    audio: FloatArray,
    *,
    sample_rate: int,
    preemphasis: float,
    n_fft: int,
    window_length: int,
    hop_length: int,
    n_mels: int,
    f_min: float,
    f_max: float,
    log_offset: float,
    normalization: Normalization,
    std_epsilon: float,
    framing: Framing,
) -> FloatArray:
    """Compute log-mel features; `FrontEnd` has the usual values of the options.

    Args:
        audio: float32 [samples], mono.
        sample_rate: Samples per second.
        preemphasis: Part of the sample before that is taken off; 0 is none.
        n_fft: Points of the Fourier transform.
        window_length: Samples of the window, at most `n_fft`.
        hop_length: Samples between two frames.
        n_mels: Mel filters.
        f_min: Lowest frequency in Hz.
        f_max: Highest frequency in Hz.
        log_offset: Added to the powers before the logarithm.
        normalization: Over the utterance, by mean and deviation of each feature, or none.
        std_epsilon: Added to the deviation.
        framing: Whose windows, and whose estimate of the deviation.

    Returns:
        float32 [n_mels, frames], frames as `frame_count` says.

    Raises:
        ConfpressError: `audio` is empty or not one-dimensional.
    """
    if audio.ndim != 1 or audio.size == 0:
        raise ConfpressError(
            f"features need mono audio with at least one sample, not an array {audio.shape}."
        )
    audio = np.asarray(audio, dtype=np.float32)
    if framing == "sherpa-onnx":
        windows = sherpa_windows(audio, preemphasis, window_length, hop_length)
    else:
        windows = _windows(audio, preemphasis, n_fft, window_length, hop_length)
    mel = mel_filters(sample_rate, n_fft, n_mels, f_min, f_max) @ _power(windows, n_fft).T
    logarithms: FloatArray = np.log(mel + np.float32(log_offset))
    if normalization == "none":
        return logarithms
    # NeMo takes the unbiased estimate; a single frame has none and stays at zero.
    freedom = logarithms.shape[1] - (1 if framing == "nemo" else 0)
    return _normalise(logarithms, std_epsilon, max(freedom, 1))


def frame_count(samples: int, hop_length: int, framing: Framing) -> int:
    """Number of frames of an utterance of `samples` samples: NeMo counts whole hops."""
    if framing == "sherpa-onnx":
        return sherpa_frame_count(samples, hop_length)
    return max(samples // hop_length, 1)


def _windows(
    audio: FloatArray, preemphasis: float, n_fft: int, window_length: int, hop_length: int
) -> FloatArray:
    """Windows centred at every hop, float32 [frames, n_fft]."""
    emphasised = audio.copy()
    emphasised[1:] -= np.float32(preemphasis) * audio[:-1]
    padded = np.pad(emphasised, n_fft // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]
    frames = frame_count(audio.size, hop_length, "nemo")
    return np.asarray(windows[:frames] * _window(window_length, n_fft))


def _power(windows: FloatArray, n_fft: int) -> FloatArray:
    """Power spectra, float32 [frames, n_fft // 2 + 1]."""
    spectrum = np.fft.rfft(windows, n_fft, axis=-1)
    return (spectrum.real**2 + spectrum.imag**2).astype(np.float32)


def _normalise(features: FloatArray, std_epsilon: float, freedom: int) -> FloatArray:
    centred = features - features.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).sum(axis=1, keepdims=True) / freedom)
    return np.asarray(centred / (deviation + std_epsilon), dtype=np.float32)


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

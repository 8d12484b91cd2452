"""Variations of audio and of features."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch
from scipy.signal import fftconvolve, resample_poly
from torch import Tensor

FloatArray = npt.NDArray[np.float32]


def change_speed(audio: FloatArray, factor: float) -> FloatArray:
    """Speed up by `factor`, with the pitch (Ko et al. 2015)."""
    ratio = Fraction(factor).limit_denominator(100)
    return np.asarray(resample_poly(audio, ratio.denominator, ratio.numerator), np.float32)


def add_noise(audio: FloatArray, snr_db: float, random: np.random.Generator) -> FloatArray:
    """Add noise between white and pink at a signal-to-noise ratio in dB."""
    spectrum = np.fft.rfft(random.standard_normal(audio.size))
    slope = random.uniform(0.0, 1.0)
    spectrum /= np.maximum(np.arange(spectrum.size), 1.0) ** (slope / 2)
    return _add(audio, np.fft.irfft(spectrum, n=audio.size), snr_db)


def add_speech(
    audio: FloatArray, other: FloatArray, ratio_db: float, random: np.random.Generator
) -> FloatArray:
    """Let another recording be heard too, so many dB below; it begins anywhere, or is cut."""
    start = random.integers(abs(audio.size - other.size) + 1)
    if other.size < audio.size:
        over = np.zeros_like(audio)
        over[start : start + other.size] = other
    else:
        over = other[start : start + audio.size]
    return _add(audio, over, ratio_db)


def add_reverberation(
    audio: FloatArray, seconds: float, sample_rate: int, random: np.random.Generator
) -> FloatArray:
    """Convolve with exponentially decaying noise that falls by 60 dB in `seconds`."""
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    response = random.standard_normal(time.size) * 10.0 ** (-3.0 * time / seconds)
    response *= 0.5 / np.sqrt(np.sum(response**2))
    response[0] = 1.0
    return np.asarray(fftconvolve(audio, response)[: audio.size], np.float32)


def _add(audio: FloatArray, other: npt.NDArray[np.floating], ratio_db: float) -> FloatArray:
    """The sum, the other's mean power so many dB below."""
    power = float(np.mean(audio**2)) / 10.0 ** (ratio_db / 10.0)
    gain = np.sqrt(power / max(float(np.mean(other**2)), 1e-12))
    return np.asarray(audio + gain * other, np.float32)


@dataclass(frozen=True)
class SpecAugment:
    """Masks over mel bands and frames, set to the features' mean (Park et al. 2019)."""

    band_masks: int = 2
    bands: int = 15
    frame_masks: int = 3
    frames: int = 15
    frame_share: float = 0.06

    def __call__(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Mask `features` [batch, bands, time], each utterance on its own."""
        batch, bands, time = features.shape
        device = features.device
        keep = torch.ones_like(features)
        for _ in range(self.band_masks):
            width = torch.randint(0, self.bands + 1, (batch, 1), device=device)
            start = (torch.rand(batch, 1, device=device) * (bands - width)).long()
            index = torch.arange(bands, device=device)[None, :]
            keep *= ((index < start) | (index >= start + width))[:, :, None]
        limit = (lengths[:, None] * self.frame_share).clamp(max=self.frames)
        for _ in range(self.frame_masks):
            width = (torch.rand(batch, 1, device=device) * (limit + 1)).long()
            start = (torch.rand(batch, 1, device=device) * (lengths[:, None] - width)).long()
            index = torch.arange(time, device=device)[None, :]
            keep *= ((index < start) | (index >= start + width))[:, None, :]
        return features * keep

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("scipy", reason="the extra `train` is not installed")

from confpress.models.training.augment import (  # noqa: E402
    SpecAugment,
    add_noise,
    add_reverberation,
    add_speech,
    change_speed,
)


def _tone(hz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(16000) / 16000).astype(np.float32)


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.0])
def test_speed_changes_duration_and_pitch(factor: float) -> None:
    changed = change_speed(_tone(400.0), factor)
    assert changed.size == pytest.approx(16000 / factor, abs=1)
    spectrum = np.abs(np.fft.rfft(changed))
    assert spectrum.argmax() * 16000 / changed.size == pytest.approx(400.0 * factor, abs=2.0)


@pytest.mark.parametrize("snr", [0.0, 20.0])
def test_noise_has_the_stated_level(snr: float) -> None:
    audio = _tone(300.0)
    noise = add_noise(audio, snr, np.random.default_rng(0)) - audio
    measured = 10 * np.log10(np.mean(audio**2) / np.mean(noise**2))
    assert measured == pytest.approx(snr, abs=0.1)


@pytest.mark.parametrize("samples", [1, 15999, 16000, 40000])
def test_other_speech_of_any_length_has_the_stated_level(samples: int) -> None:
    audio, other = _tone(300.0), np.random.default_rng(1).standard_normal(samples)
    over = add_speech(audio, other.astype(np.float32), 5.0, np.random.default_rng(0)) - audio
    assert over.size == audio.size
    assert 10 * np.log10(np.mean(audio**2) / np.mean(over**2)) == pytest.approx(5.0, abs=0.1)


def test_silence_adds_nothing() -> None:
    audio = _tone(300.0)
    silence = np.zeros(100, np.float32)
    assert np.array_equal(add_speech(audio, silence, 0.0, np.random.default_rng(0)), audio)


def test_reverberation_keeps_the_length_and_adds_a_decaying_tail() -> None:
    click = np.zeros(16000, np.float32)
    click[1000] = 1.0
    result = add_reverberation(click, 0.4, 16000, np.random.default_rng(0))
    assert result.size == click.size
    np.testing.assert_allclose(result[:1000], 0.0, atol=1e-5)
    early, late = result[1001:3000], result[5000:7000]
    assert np.mean(early**2) > 100 * np.mean(late**2) > 0


def test_masks_are_zeros_within_their_limits() -> None:
    torch.manual_seed(0)
    features = torch.ones(16, 80, 300)
    lengths = torch.full((16,), 300)
    masked = SpecAugment(band_masks=1, bands=10, frame_masks=1, frames=12)(features, lengths)
    assert set(masked.unique().tolist()) == {0.0, 1.0}
    bands = (masked.sum(dim=2) == 0).sum(dim=1)
    frames = (masked.sum(dim=1) == 0).sum(dim=1)
    assert 0 < bands.max() <= 10
    assert 0 < frames.max() <= 12
    assert len(set(bands.tolist())) > 1  # utterances get masks of their own

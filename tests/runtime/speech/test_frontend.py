from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.speech import FrontEnd
from confpress.runtime.speech.log_mel import mel_filters


def _tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(16000 * seconds)) / 16000
    return (0.1 * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def test_features_have_one_frame_per_whole_hop() -> None:
    features = FrontEnd().features(_tone(440.0, 1.234))
    assert features.shape == (80, int(16000 * 1.234) // 160)
    assert features.dtype == np.float32
    assert features.shape[1] == FrontEnd().frames(int(16000 * 1.234))


def test_features_are_normalised_with_the_unbiased_deviation() -> None:
    noise = np.random.default_rng(0).standard_normal(32000).astype(np.float32)
    features = FrontEnd().features(noise)
    np.testing.assert_allclose(features.mean(axis=1), 0.0, atol=1e-5)
    np.testing.assert_allclose(features.std(axis=1, ddof=1), 1.0, atol=1e-3)


def test_features_agree_with_a_direct_evaluation_of_the_definition() -> None:
    """One frame, by a sum over samples in float64 instead of a Fourier transform of frames."""
    audio = np.random.default_rng(1).standard_normal(4000).astype(np.float32)
    front = FrontEnd(normalization="none")
    emphasised = audio.astype(np.float64)
    emphasised[1:] -= 0.97 * audio[:-1].astype(np.float64)
    frame = 11
    start = frame * 160 - 200
    n = np.arange(400)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 399)
    segment = emphasised[start : start + 400] * window
    bins = np.arange(257)[:, None]
    spectrum = (segment * np.exp(-2j * np.pi * bins * n / 512)).sum(axis=1)
    filters = mel_filters(16000, 512, 80, 0.0, 8000.0).astype(np.float64)
    expected = np.log(filters @ np.abs(spectrum) ** 2 + 2.0**-24)
    np.testing.assert_allclose(front.features(audio)[:, frame], expected, atol=1e-4)


def test_mel_filters_have_unit_area_and_follow_slaneys_scale() -> None:
    filters = mel_filters(16000, 512, 80, 0.0, 8000.0)
    assert filters.shape == (80, 257)
    hz = np.linspace(0, 8000, 257)
    # The wide filters above 1 kHz are sampled finely enough for the sum to be their area.
    np.testing.assert_allclose((filters[40:] * (hz[1] - hz[0])).sum(axis=1), 1.0, atol=0.05)
    assert hz[filters[60].argmax()] > 2 * hz[filters[30].argmax()]


@pytest.mark.parametrize("hz", [300.0, 1000.0, 3000.0])
def test_a_tone_is_strongest_in_the_filter_around_it(hz: float) -> None:
    features = FrontEnd(normalization="none", preemphasis=0.0).features(_tone(hz))
    band = int(features[:, 50].argmax())
    filters = mel_filters(16000, 512, 80, 0.0, 8000.0)
    support = np.linspace(0, 8000, 257)[filters[band] > 0]
    assert support.min() - 32 <= hz <= support.max() + 32


def test_a_single_frame_stays_finite() -> None:
    assert np.isfinite(FrontEnd().features(np.ones(10, np.float32))).all()


def test_silence_stays_finite() -> None:
    assert np.isfinite(FrontEnd().features(np.zeros(16000, np.float32))).all()


@pytest.mark.parametrize("audio", [np.zeros(0, np.float32), np.zeros((2, 100), np.float32)])
def test_audio_of_another_shape_is_refused(audio: np.ndarray) -> None:
    with pytest.raises(ConfpressError, match="mono audio"):
        FrontEnd().features(audio)


def test_json_round_trip_and_the_file_beside_a_model(tmp_path: Path) -> None:
    model = tmp_path / "small.onnx"
    assert FrontEnd.beside(model) == FrontEnd()
    FrontEnd(n_mels=64).save(tmp_path / "frontend.json")
    assert FrontEnd.beside(model).n_mels == 64
    FrontEnd(n_mels=40).save(tmp_path / "small.frontend.json")
    assert FrontEnd.beside(model).n_mels == 40
    assert FrontEnd.beside(tmp_path / "other.onnx").n_mels == 64


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"mels": 80}', "mels.*allowed keys: sample_rate"),
        ('{"n_mels": 0}', "n_mels"),
        ('{"window_length": 600}', "window_length must not exceed n_fft"),
        ('{"f_max": 9000}', "f_max"),
        ("not json", "JSON"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "frontend.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfpressError, match=says) as caught:
        FrontEnd.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_defaults_are_those_of_nemo() -> None:
    assert json.loads(FrontEnd().model_dump_json()) == {
        "sample_rate": 16000,
        "preemphasis": 0.97,
        "n_fft": 512,
        "window_length": 400,
        "hop_length": 160,
        "n_mels": 80,
        "f_min": 0.0,
        "f_max": 8000.0,
        "log_offset": 2.0**-24,
        "normalization": "per_feature",
        "std_epsilon": 1e-5,
        "framing": "nemo",
    }

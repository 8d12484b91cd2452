from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from confpress.passes.errors import ConfpressError
from confpress.runtime.speech.audio import audio_seconds, read_audio


def _write(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    soundfile.write(path, samples, rate)
    return path


def test_flac_comes_back_as_float_samples(tmp_path: Path) -> None:
    samples = np.linspace(-0.5, 0.5, 1600, dtype=np.float32)
    path = _write(tmp_path / "a.flac", samples)
    read = read_audio(path, 16000)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, samples, atol=2.0**-15)
    assert audio_seconds(path) == pytest.approx(0.1)


def test_another_sample_rate_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.wav", np.zeros(800), rate=8000)
    with pytest.raises(ConfpressError, match=r"a\.wav has 8000 samples per second.*takes 16000"):
        read_audio(path, 16000)


def test_stereo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfpressError, match="2 channels"):
        read_audio(_write(tmp_path / "a.wav", np.zeros((800, 2))), 16000)


def test_empty_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfpressError, match="no samples"):
        read_audio(_write(tmp_path / "a.wav", np.zeros(0)), 16000)


@pytest.mark.parametrize("sample", [np.nan, -np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, sample: float) -> None:
    audio = np.zeros(800)
    audio[100] = sample
    soundfile.write(tmp_path / "a.wav", audio, 16000, subtype="FLOAT")
    with pytest.raises(ConfpressError, match="infinite or no numbers"):
        read_audio(tmp_path / "a.wav", 16000)


@pytest.mark.parametrize("content", [b"", b"this is not audio"])
def test_what_cannot_be_decoded_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.flac"
    path.write_bytes(content)
    for read in (lambda: read_audio(path, 16000), lambda: audio_seconds(path)):
        with pytest.raises(ConfpressError, match=r"broken\.flac is not audio"):
            read()


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "missing.flac"
    for read in (lambda: read_audio(path, 16000), lambda: audio_seconds(path)):
        with pytest.raises(ConfpressError, match=r"there is no audio file .*missing\.flac\.$"):
            read()

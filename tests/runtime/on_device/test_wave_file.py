from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from confpress.passes.errors import ConfpressError
from confpress.runtime.on_device.wave_file import read_wave
from confpress.runtime.speech import read_audio


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
def test_samples_are_those_that_libsndfile_reads(tmp_path: Path, subtype: str) -> None:
    audio = np.clip(np.random.default_rng(0).standard_normal(5000) * 0.4, -1, 1)
    path = tmp_path / "ü.wav"
    soundfile.write(path, audio, 8000, subtype=subtype)
    found = read_wave(path, 8000)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, read_audio(path, 8000))


def test_what_it_cannot_read_is_told_in_a_sentence(tmp_path: Path) -> None:
    silence = np.zeros((100, 2), dtype=np.float32)
    soundfile.write(tmp_path / "stereo.wav", silence, 16000)
    soundfile.write(tmp_path / "slow.wav", silence[:, :1], 8000)
    soundfile.write(tmp_path / "none.wav", silence[:0, :1], 16000)
    soundfile.write(tmp_path / "float.wav", silence[:, :1], 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "flac.wav", silence[:, :1], 16000, format="FLAC")
    (tmp_path / "cut.wav").write_bytes((tmp_path / "slow.wav").read_bytes()[:10])
    for name, reason in (
        ("stereo.wav", "2 channels"),
        ("slow.wav", "8000 samples per second"),
        ("none.wav", "no samples"),
        ("float.wav", "not a WAV file"),
        ("flac.wav", "not a WAV file"),
        ("cut.wav", "not a WAV file"),
        ("missing.wav", "cannot read"),
    ):
        with pytest.raises(ConfpressError, match=reason):
            read_wave(tmp_path / name, 16000)

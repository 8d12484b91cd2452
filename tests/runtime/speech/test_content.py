from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from confpress.passes.errors import ConfpressError
from confpress.runtime.speech import load_utterances
from confpress.runtime.speech.content import audio_digest, audio_digests, refuse_overlap


def test_a_copy_is_known_under_another_name_and_in_another_container(
    speech_folder: Path, tmp_path: Path
) -> None:
    first, second = speech_folder / "0.flac", speech_folder / "1.flac"
    audio, rate = soundfile.read(first, dtype="int16")
    copy = tmp_path / "renamed.wav"
    soundfile.write(copy, audio, rate, subtype="PCM_16")
    known = audio_digest(first, rate)
    assert audio_digest(copy, rate) == known != audio_digest(second, rate)


def test_overlap_names_both_files(speech_folder: Path, tmp_path: Path) -> None:
    mine = load_utterances(speech_folder)
    folder = tmp_path / "copies"
    folder.mkdir()
    audio, rate = soundfile.read(mine[1].path, dtype="int16")
    soundfile.write(folder / "renamed.wav", audio, rate)
    theirs = load_utterances(folder)
    digests = audio_digests([*mine, *theirs], 16000)
    refuse_overlap({"calibration": mine[:1], "validation": theirs}, digests)
    with pytest.raises(ConfpressError, match=r"1\.flac and .*renamed\.wav hold the same audio"):
        refuse_overlap({"calibration": mine, "validation": theirs}, digests)
    with pytest.raises(ConfpressError, match=r"^.*0\.flac is in both the a and the b speech"):
        refuse_overlap({"a": mine, "b": mine[:1]}, digests)

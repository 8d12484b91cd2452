from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from confpress.passes.errors import ConfpressError
from confpress.runtime.speech.manifest import Utterance, load_utterances, speaker_of


def _manifest(folder: Path, text: str) -> Path:
    path = folder / "manifest.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    _manifest(
        tmp_path,
        "text\tseconds\tpath\tid\tspeaker\n"
        'HELLO "YOU"\t1.5\tsub/a.flac\tone\tann\n'
        " \t2\tb.wav\t\t\n",
    )
    assert load_utterances(tmp_path) == [
        Utterance("one", tmp_path / "sub/a.flac", 1.5, 'HELLO "YOU"', "ann"),
        Utterance("b", tmp_path / "b.wav", 2.0, None, None),
    ]


def test_the_manifest_itself_may_be_given(tmp_path: Path) -> None:
    path = _manifest(tmp_path, "path\tseconds\na.flac\t1\n")
    assert load_utterances(path) == load_utterances(tmp_path)


def test_a_subset_keeps_matching_paths(tmp_path: Path) -> None:
    _manifest(tmp_path, "path\tseconds\ntrain/a.flac\t1\ntest/b.flac\t2\n")
    assert [u.id for u in load_utterances(tmp_path, "test/")] == ["b"]
    with pytest.raises(ConfpressError, match="no utterances whose path contains 'dev'"):
        load_utterances(tmp_path, "dev")


def test_a_folder_without_a_manifest_lists_its_audio(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.wav", "deep/a.flac"):
        soundfile.write(tmp_path / name, np.zeros(8000), 16000)
    (tmp_path / "notes.txt").write_text("no audio")
    found = load_utterances(tmp_path)
    assert [(u.id, u.seconds, u.text) for u in found] == [("b", 0.5, None), ("a", 0.5, None)]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "manifest.tsv").write_bytes(
        b"\xef\xbb\xbfid\tpath\tseconds\ttext\r\none\ta.flac\t1\tYES\r\n"
    )
    assert load_utterances(tmp_path) == [Utterance("one", tmp_path / "a.flac", 1.0, "YES")]


def test_seconds_come_from_the_file_where_the_manifest_has_none(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros(4000), 16000)
    _manifest(tmp_path, "path\ttext\na.flac\tyes\n")
    assert load_utterances(tmp_path)[0].seconds == 0.25


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("id\ttext\na\tb\n", "names no column 'path'"),
        ("", "names no column 'path'"),
        ("path\tseconds\na.flac\tlong\n", "line 2: seconds is 'long'"),
        ("path\tseconds\na.flac\tnan\n", "seconds is 'nan', not a positive number"),
        ("path\tseconds\na.flac\t-3\n", "seconds is '-3', not a positive number"),
        ("path\tseconds\n\t1\n", "line 2: the path is empty"),
        ("path\tseconds\n", "no utterances"),
    ],
)
def test_a_malformed_manifest_is_refused(tmp_path: Path, content: str, says: str) -> None:
    _manifest(tmp_path, content)
    with pytest.raises(ConfpressError, match=says):
        load_utterances(tmp_path)


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfpressError, match="no utterances"):
        load_utterances(tmp_path)
    with pytest.raises(ConfpressError, match="neither a folder"):
        load_utterances(tmp_path / "absent")


def test_binary_rubbish_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.tsv").write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(ConfpressError, match="cannot read the manifest"):
        load_utterances(tmp_path)


@pytest.mark.parametrize(
    ("name", "speaker"),
    [
        ("an251-fash-b", "fash"),
        ("cen1-mdms2-b", "mdms2"),
        ("1688-142285-0000", "1688"),
        ("clip-07", None),
    ],
)
def test_ids_of_an4_and_librispeech_name_the_speaker(name: str, speaker: str | None) -> None:
    assert speaker_of(name) == speaker


def test_an4_has_ten_test_speakers_that_are_not_in_training(shared_data: Path) -> None:
    test = load_utterances(shared_data / "an4", "an4test_clstk")
    train = load_utterances(shared_data / "an4", "/an4_clstk/")
    assert (len(test), len(train)) == (130, 948)
    speakers = {u.speaker for u in test}
    assert len(speakers) == 10
    assert None not in speakers
    assert not speakers & {u.speaker for u in train}

from __future__ import annotations

from pathlib import Path

import pytest
from confpress.runtime.cache import Cache
from confpress.runtime.recognition import asr
from confpress.runtime.recognition.asr import AsrModel, Transcript, transcribe
from confpress.runtime.recognition.transcripts import SpeechCache
from confpress.runtime.session import DEFAULT_OPTIONS, SessionOptions, create_session
from confpress.runtime.speech import load_utterances
from confpress.runtime.speech.content import audio_digests


class Hearing:
    """Transcribes the same speech again and again, and counts what models really hear."""

    def __init__(
        self, model: Path, speech: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.model, self.session = AsrModel.load(model), create_session(model)
        self.utterances = load_utterances(speech)
        self.told: list[str] = []
        self.cache = Cache(folder, self.told.append)
        self.heard: list[str] = []
        self.fail_at: int | None = None
        hear = asr._hear

        def counted(model: AsrModel, session: object, batch: list, cache: object) -> list:
            if len(self.heard) == self.fail_at:
                raise KeyboardInterrupt
            self.heard.extend(utterance.id for utterance in batch)
            return hear(model, session, batch, cache)

        monkeypatch.setattr(asr, "_hear", counted)

    def __call__(
        self, options: SessionOptions = DEFAULT_OPTIONS, batch_size: int = 1
    ) -> list[Transcript]:
        content = audio_digests(self.utterances, 16000)
        known = SpeechCache(self.cache, content).of(self.model, options)
        return transcribe(self.model, self.session, self.utterances, batch_size, known=known)


@pytest.fixture
def hearing(
    tiny_ctc: Path, speech_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Hearing:
    return Hearing(tiny_ctc, speech_folder, tmp_path / "cache", monkeypatch)


def test_an_interrupted_transcription_goes_on(hearing: Hearing) -> None:
    hearing.fail_at = 2
    with pytest.raises(KeyboardInterrupt):
        hearing()
    hearing.fail_at = None
    first = hearing()
    assert hearing.heard == ["utt0", "utt1", "utt2"]
    assert "2 of 3 transcripts of" in hearing.told[-1]
    assert hearing() == first
    assert hearing.heard == ["utt0", "utt1", "utt2"]
    hearing.cache = Cache()
    assert hearing() == first
    assert len(hearing.heard) == 6


def test_what_matters_for_the_words_is_told_apart(hearing: Hearing, make_ctc, tmp_path) -> None:
    hearing()
    hearing(SessionOptions(threads=2))
    assert len(hearing.heard) == 6
    hearing(batch_size=3)
    assert len(hearing.heard) == 9
    hearing.model = AsrModel.load(make_ctc("other/model.onnx", seed=1))
    hearing()
    assert len(hearing.heard) == 12


def test_a_copy_of_model_and_speech_is_known(hearing: Hearing, tmp_path: Path) -> None:
    import shutil

    hearing()
    folder = hearing.model.path.parent
    copy = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    hearing.model = AsrModel.load(copy / "model.onnx")
    hearing.utterances = load_utterances(copy / "speech")
    hearing()
    assert len(hearing.heard) == 3


def test_a_damaged_file_is_ignored_with_a_sentence(hearing: Hearing) -> None:
    first = hearing()
    (path,) = hearing.cache.folder.glob("heard-*.jsonl")
    path.write_text('{"audio": 1}\n[]\nx\n' + path.read_text()[:-20])
    assert hearing() == first
    assert hearing.heard == ["utt0", "utt1", "utt2", "utt2"]
    assert any("is damaged in part" in told for told in hearing.told)

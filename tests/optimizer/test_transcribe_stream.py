"""`confpress transcribe --stream`: the text grows to what the whole utterance gives."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.export import export_streaming_onnx
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.recognition.live import transcribe_live
from confpress.runtime.session import create_session
from confpress.runtime.speech import FrontEnd, Tokens

from tests.conftest import PIECES
from tests.models.test_streaming import streaming

from .conftest import Confpress


@pytest.fixture(scope="module")
def streaming_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streaming") / "model.onnx"
    export_streaming_onnx(streaming(), path)
    FrontEnd().save(path.parent / "frontend.json")
    Tokens((*PIECES, "f")).save(path.parent / "tokens.txt")
    return path


@pytest.mark.parametrize("chunk", [0.04, 0.16, 0.64])
def test_texts_grow_to_what_all_chunks_give(streaming_model: Path, chunk: float) -> None:
    model = AsrModel.load(streaming_model, chunk_seconds=chunk)
    session = create_session(streaming_model)
    audio = np.random.default_rng(1).standard_normal(60_000).astype(np.float32) * 0.1
    features = model.frontend.features(audio)
    partials = list(transcribe_live(model, session, features))
    assert len(partials) == -(-features.shape[1] // round(chunk * 100))
    for before, after in itertools.pairwise(partials):
        assert after.text.startswith(before.text)
        assert after.seconds > before.seconds
    assert partials[-1].seconds == pytest.approx(features.shape[1] / 100)
    whole = model.decode(model.scores(session, [features])[0])[1]
    assert partials[-1].text == whole
    assert len({partial.text for partial in partials}) > 3


def test_the_command_prints_what_it_hears_and_how_long_chunks_take(
    confpress: Confpress, streaming_model: Path, speech_folder: Path, tmp_path: Path
) -> None:
    audio = [speech_folder / "1.flac", speech_folder / "2.flac"]
    done = confpress(
        *("transcribe", streaming_model, *audio, "--stream", "--chunk", "0.08"),
        *("--json", tmp_path / "live.json"),
    )
    assert done.status == 0, done.err
    heard = json.loads((tmp_path / "live.json").read_text(encoding="utf-8"))
    for path, entry in zip(audio, heard, strict=True):
        assert f"{path}: {entry['text']}\n" in done.out
        assert entry["chunks"][-1]["text"] == entry["text"]
    assert "0.8 s in 10 chunks, each in" in done.out
    plain = confpress(
        *("transcribe", streaming_model, *audio, "--chunk", "0.08"),
        *("--json", tmp_path / "whole.json"),
    )
    assert plain.status == 0, plain.err
    whole = json.loads((tmp_path / "whole.json").read_text(encoding="utf-8"))
    assert [entry["text"] for entry in whole] == [entry["text"] for entry in heard]


def test_a_model_of_whole_utterances_says_so(
    confpress: Confpress, tiny_ctc: Path, speech_folder: Path
) -> None:
    done = confpress("transcribe", tiny_ctc, speech_folder / "1.flac", "--stream")
    assert done.status == 1
    assert done.err.count("\n") == 1
    assert "takes whole utterances" in done.err
    assert done.out == ""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from confpress.passes.errors import ConfpressError
from confpress.passes.rewrites.attention.positions import MAX_FRAMES_KEY
from confpress.runtime.recognition.asr import AsrModel, FeatureCache, transcribe
from confpress.runtime.session import create_session
from confpress.runtime.speech import (
    FrontEnd,
    Tokens,
    Utterance,
    load_utterances,
    read_audio,
    word_errors,
)

MakeModel = Callable[..., Path]


def test_front_end_and_tokens_are_found_beside_and_above(
    make_ctc: MakeModel, tmp_path: Path
) -> None:
    make_ctc("result/original.onnx")
    below = make_ctc("result/portable/model.onnx", beside=False)
    model = AsrModel.load(below)
    assert model.frontend_path == tmp_path / "result" / "frontend.json"
    assert model.tokens is not None
    own = FrontEnd(preemphasis=0.0)
    own.save(below.parent / "model.frontend.json")
    assert AsrModel.load(below).frontend == own
    assert AsrModel.load(below, frontend=FrontEnd()).frontend == FrontEnd()


def test_the_default_front_end_is_taken_where_it_fits(make_ctc: MakeModel) -> None:
    model = AsrModel.load(make_ctc("alone/model.onnx", beside=False))
    assert model.frontend == FrontEnd()
    assert model.frontend_path is None
    assert model.tokens is None
    with pytest.raises(ConfpressError, match="takes 64 features a frame, but the default front"):
        AsrModel.load(make_ctc("other/model.onnx", beside=False, mels=64))


def test_tokens_must_fit(tiny_ctc: Path) -> None:
    with pytest.raises(ConfpressError, match="gives 7 scores a frame, but its tokens are 3"):
        AsrModel.load(tiny_ctc, tokens=Tokens(("a", "b")))


def test_transcripts_do_not_depend_on_batch_layout_or_lengths(
    make_ctc: MakeModel, speech_folder: Path
) -> None:
    utterances = load_utterances(speech_folder)
    heard = []
    for name, batch, options in (
        ("first", 1, {}),
        ("batched", 2, {}),
        ("turned", 3, {"mels_first": False}),
        ("bare", 1, {"lengths": False}),
        ("fixed", 1, {"frames": 200, "batch": 1}),
    ):
        model = AsrModel.load(make_ctc(f"{name}/model.onnx", **options))
        session = create_session(model.path)
        heard.append(transcribe(model, session, utterances, batch))
    assert [t.id for t in heard[0]] == ["utt0", "utt1", "utt2"]
    assert len({t.text for t in heard[0]}) > 1
    assert all(other == heard[0] for other in heard[1:])


def test_features_are_computed_once(
    tiny_ctc: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counting(path: Path, rate: int) -> np.ndarray:
        read.append(path)
        return read_audio(path, rate)

    monkeypatch.setattr("confpress.runtime.recognition.asr.read_audio", counting)
    model = AsrModel.load(tiny_ctc)
    session = create_session(model.path)
    utterances = load_utterances(speech_folder)
    cache = FeatureCache(model.frontend)
    first = transcribe(model, session, utterances, cache=cache)
    assert transcribe(model, session, utterances, 2, cache=cache) == first
    assert len(read) == 3
    full = FeatureCache(model.frontend, limit_bytes=0)
    assert transcribe(model, session, utterances, cache=full) == first
    assert len(read) == 6


def test_audio_beyond_the_position_table_is_refused(tiny_ctc: Path, speech_folder: Path) -> None:
    proto = onnx.load_model(tiny_ctc)
    proto.metadata_props.add(key=MAX_FRAMES_KEY, value="45")  # 90 frames, 0.9 s
    tiny_ctc.write_bytes(proto.SerializeToString())
    model = AsrModel.load(tiny_ctc)
    session = create_session(model.path)
    assert model.longest_seconds(session) == pytest.approx(0.9)
    utterances = load_utterances(speech_folder)
    transcribe(model, session, utterances[:2])
    with pytest.raises(ConfpressError, match=r"2\.flac lasts 1\.1 s, but .* trimmed to 0\.9 s"):
        transcribe(model, session, utterances)


def test_refusals(make_ctc: MakeModel, tiny_ctc: Path, speech_folder: Path) -> None:
    utterances = load_utterances(speech_folder)
    bare = AsrModel.load(make_ctc("bare/model.onnx", lengths=False))
    with pytest.raises(ConfpressError, match="takes no lengths"):
        transcribe(bare, create_session(bare.path), utterances, 2)
    model = AsrModel.load(tiny_ctc)
    session = create_session(model.path)
    with pytest.raises(ConfpressError, match="batch size must be at least 1"):
        transcribe(model, session, utterances, 0)
    mute = AsrModel.load(make_ctc("deep/mute/model.onnx", beside=False))
    with pytest.raises(ConfpressError, match=r"no tokens\.txt"):
        transcribe(mute, create_session(mute.path), utterances)
    with pytest.raises(ConfpressError, match="other features"):
        transcribe(model, session, utterances, cache=FeatureCache(FrontEnd(preemphasis=0.5)))
    (speech_folder / "1.flac").write_bytes(b"no audio")
    with pytest.raises(ConfpressError, match=r"1\.flac"):
        transcribe(model, session, utterances)
    soundfile.write(speech_folder / "1.flac", np.zeros(800), 8000)
    with pytest.raises(ConfpressError, match=r"1\.flac has 8000 samples per second"):
        transcribe(model, session, utterances)


def test_a_real_model_in_batches_hears_the_same(
    nemo_model: Path, an4_test: list[Utterance]
) -> None:
    """Eight utterances one by one and in a padded batch: at most one word may differ."""
    model = AsrModel.load(nemo_model)
    session = create_session(model.path)
    cache = FeatureCache(model.frontend)
    alone = transcribe(model, session, an4_test[:8], cache=cache)
    together = transcribe(model, session, an4_test[:8], 4, cache=cache)
    references = [t.text for t in alone]
    assert word_errors(references, [t.text for t in together]).errors.sum() <= 1
    assert word_errors([str(u.text) for u in an4_test[:8]], references).rate < 0.2


@pytest.mark.evidence
@pytest.mark.parametrize(("data", "rate"), [("an4_test", 0.0543), ("test_other", 0.0928)])
def test_word_error_rates_of_the_real_model(
    nemo_model: Path, data: str, rate: float, request: pytest.FixtureRequest
) -> None:
    """The model's published rates on both sets, to the second decimal of a percent."""
    utterances = request.getfixturevalue(data)
    model = AsrModel.load(nemo_model)
    heard = transcribe(model, create_session(model.path), utterances)
    counts = word_errors([u.text for u in utterances], [t.text for t in heard])
    assert counts.rate == pytest.approx(rate, abs=5e-5)


def test_another_file_of_a_model_has_the_same_vocabulary(
    make_ctc: MakeModel, tmp_path: Path
) -> None:
    alone = AsrModel.load(make_ctc("alone/deep/model.onnx", beside=False))
    assert alone.tokens is None
    make_ctc("other/model.onnx")  # lies beside a vocabulary that is not the model's
    moved = alone.with_model(tmp_path / "other" / "model.onnx")
    assert moved.tokens is None
    assert moved.path == tmp_path / "other" / "model.onnx"


def test_relative_paths_find_what_lies_above(
    make_ctc: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ctc("result/original.onnx")
    make_ctc("result/portable/model.onnx", beside=False)
    monkeypatch.chdir(tmp_path / "result" / "portable")
    assert AsrModel.load("model.onnx").tokens is not None

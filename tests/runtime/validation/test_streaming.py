"""Validation chunk by chunk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.calibration.calibrate import calibrate
from confpress.runtime.chunks import Chunks
from confpress.runtime.inputs import SpeechSource, synthetic_features
from confpress.runtime.model_file import load_model
from confpress.runtime.recognition.asr import AsrModel, transcribe
from confpress.runtime.runner import Runner
from confpress.runtime.session import create_session
from confpress.runtime.speech import FrontEnd, load_utterances
from confpress.runtime.validation.streaming import StreamSource, drift
from confpress.runtime.validation.validate import Validation, validate

from tests.runtime.stream_models import write_stream_ctc


def written(path: Path, **options: float) -> Path:
    write_stream_ctc(path, **options)  # type: ignore[arg-type]
    return path


def test_streams_are_as_long_as_their_chunks_need() -> None:
    streams = StreamSource(SpeechSource(FrontEnd()), Chunks(window=39, shift=32), count=5)
    batch = streams.batch(2)
    assert [[each.shape for each in chunk] for chunk in batch] == [[(80, 39)] * 2] * 5
    np.testing.assert_array_equal(batch[1][0][:, :7], batch[0][0][:, 32:])
    assert not np.array_equal(batch[0][0], batch[0][1])


def test_scores_of_an_utterance_are_those_of_its_chunks_in_turn(tmp_path: Path) -> None:
    runner = Runner.start(load_model(written(tmp_path / "model.onnx")))
    assert runner.chunks == Chunks(64, 64)
    features = synthetic_features(80, 150)
    mean, expected = np.zeros((1, 1, 80), np.float32), []
    for piece in runner.chunks.cut(features):
        feeds = {"features": piece[None], "past_mean": mean}
        scores, mean = runner.session.run(None, feeds)
        expected.append(scores[0])
    np.testing.assert_array_equal(runner.scores([features])[0], np.concatenate(expected))
    assert len(runner.scores([features, features[:, :64]])[1]) == 32


def test_a_model_against_itself_shows_no_error_and_no_drift(
    tmp_path: Path, speech_folder: Path
) -> None:
    model = AsrModel.load(written(tmp_path / "model.onnx"))
    found = validate(model, model, load_utterances(speech_folder), chunks=100)
    assert {(d.output, d.batch, d.frames) for d in found.outputs} == {
        (name, batch, 64) for name in ("logprobs", "next_mean") for batch in (1, 3)
    }
    assert all(d.max_abs == 0 for d in found.outputs)
    stream = found.stream
    assert stream is not None
    assert (stream.chunks, stream.window, stream.shift, stream.seconds) == (100, 64, 64, 0.64)
    assert stream.errors == (0.0,) * 100
    assert stream.drift is not None
    assert not stream.drift.grows
    assert set(stream.latency) == {"reference", "candidate"}
    for row in stream.latency.values():
        assert 0 < row.p50_ms <= row.p90_ms <= row.p99_ms
        assert row.share == pytest.approx(row.p50_ms / 640)
    assert found.speech is not None
    assert found.speech.changed == 0
    assert Validation.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(("keep", "grows"), [(0.45, False), (1.02, True)])
def test_drift_is_told_from_a_constant_error(tmp_path: Path, keep: float, grows: bool) -> None:
    reference = AsrModel.load(written(tmp_path / "a.onnx", keep=0.5))
    candidate = AsrModel.load(written(tmp_path / "b.onnx", keep=keep))
    found = validate(reference, candidate, batch_sizes=(1,))
    assert found.stream is not None
    assert found.stream.drift is not None
    assert found.stream.drift.first > 0
    assert found.stream.drift.grows is grows


def test_drift_needs_two_ends() -> None:
    assert drift([0.1] * 99) is None
    rising = drift([0.1] * 50 + [0.2] * 50)
    assert rising is not None
    assert rising.grows
    assert rising.noise == pytest.approx(0, abs=1e-12)


def test_chunks_may_be_chosen_where_the_model_leaves_them_open(
    tmp_path: Path, tiny_ctc: Path, speech_folder: Path
) -> None:
    path = written(tmp_path / "stream" / "model.onnx")
    short, long = (AsrModel.load(path, chunk_seconds=seconds) for seconds in (0.1, 0.32))
    assert [m.interface.chunk_shift for m in (short, long)] == [10, 32]
    utterances = load_utterances(speech_folder)
    heard = [transcribe(m, create_session(path), utterances, 2) for m in (short, long)]
    assert heard[0] != heard[1]
    with pytest.raises(ConfpressError, match="takes whole utterances"):
        AsrModel.load(tiny_ctc, chunk_seconds=0.1)


def test_chunks_and_whole_utterances_are_compared_by_words_alone(
    tmp_path: Path, tiny_ctc: Path
) -> None:
    streaming = AsrModel.load(written(tmp_path / "stream" / "model.onnx"))
    found = validate(AsrModel.load(tiny_ctc), streaming)
    assert found.outputs_skipped is not None
    assert "chunks" in found.outputs_skipped
    assert (found.outputs, found.stream) == ((), None)


def test_calibration_carries_states(tmp_path: Path) -> None:
    model = load_model(written(tmp_path / "model.onnx"))
    features = [synthetic_features(80, frames, seed=frames) for frames in (200, 130)]
    expected = []
    session = create_session(model)
    for utterance in features:
        mean = np.zeros((1, 1, 80), np.float32)
        for piece in Chunks(64, 64).cut(utterance):
            mean = session.run(["next_mean"], {"features": piece[None], "past_mean": mean})[0]
            expected.append(piece.T[None, ::2] + mean)
    values = np.concatenate(expected, axis=1)
    found = calibrate(model, features, ["moved"])["moved"]
    assert found.count == values.size
    assert found.maximum == pytest.approx(values.max(), rel=1e-6)
    assert found.minimum == pytest.approx(values.min(), rel=1e-6)

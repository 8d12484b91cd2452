from __future__ import annotations

from pathlib import Path

import confpress.models
import numpy as np
import onnx
import onnxruntime
import pytest
from confpress.runtime.speech import (
    FrontEnd,
    Tokens,
    Utterance,
    greedy_ctc,
    load_utterances,
    read_audio,
    word_errors,
)

DEMO = next(
    folder for place in confpress.models.__path__ if (folder := Path(place) / "demo").is_dir()
)
MODEL = DEMO / "model.onnx"


def test_the_model_is_small_and_its_files_fit_together() -> None:
    assert MODEL.stat().st_size <= 8_000_000
    assert FrontEnd.beside(MODEL) == FrontEnd.load(DEMO / "frontend.json")
    tokens = Tokens.load(DEMO / "tokens.txt")
    classes = onnx.load(MODEL).graph.output[0].type.tensor_type.shape.dim[2].dim_value
    assert classes == len(tokens.pieces) + 1
    # The position table is computed: no stored tensor is as large as the largest weight.
    largest = max(onnx.load(MODEL).graph.initializer, key=lambda t: np.prod(t.dims, initial=1))
    assert 144 in largest.dims


def test_clips_are_a_dozen_short_recordings_and_others_calibrate() -> None:
    clips = load_utterances(DEMO / "clips", "clip-")
    calibration = load_utterances(DEMO / "clips", "calibration-")
    assert (len(clips), len(calibration)) == (12, 8)
    assert all(2.0 < u.seconds < 7.0 and u.text for u in clips + calibration)
    assert not {u.text for u in clips} & {u.text for u in calibration}
    for clip in clips + calibration:
        assert read_audio(clip.path, 16000).size == pytest.approx(clip.seconds * 16000, abs=16)


def test_clips_are_recognised() -> None:
    """Measured: 8.79 % of 91 words."""
    assert _word_error_rate(load_utterances(DEMO / "clips", "clip-")) <= 0.10


def test_people_are_recognised(an4_test: list[Utterance]) -> None:
    """Measured: 9.31 % of 773 words."""
    assert _word_error_rate(an4_test) <= 0.15


def _word_error_rate(utterances: list[Utterance]) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    tokens, front = Tokens.load(DEMO / "tokens.txt"), FrontEnd.beside(MODEL)
    hypotheses = []
    for utterance in utterances:
        features = front.features(read_audio(utterance.path, front.sample_rate))
        logprobs, lengths = session.run(
            None,
            {"audio_signal": features[None], "length": np.array([features.shape[1]], np.int64)},
        )
        hypotheses.append(tokens.text(greedy_ctc(logprobs[0], int(lengths[0]), tokens.blank)))
    return word_errors([u.text or "" for u in utterances], hypotheses).rate

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from confpress.runtime.speech import (
    FrontEnd,
    Tokens,
    greedy_ctc,
    load_utterances,
    read_audio,
    word_errors,
)

PEOPLE = ("fcaw", "mmxg", "menk")


def test_front_end_and_decoder_recognise_real_speech(nemo_model: Path, shared_data: Path) -> None:
    """39 utterances of three test speakers; the whole test part has 5.43 % (evidence)."""
    utterances = [
        u for u in load_utterances(shared_data / "an4", "an4test_clstk") if u.speaker in PEOPLE
    ]
    assert len(utterances) == 39
    assert _word_error_rate(nemo_model, utterances) < 0.10


@pytest.mark.evidence
@pytest.mark.parametrize(
    ("folder", "subset", "expected"),
    [("an4", "an4test_clstk", 0.0543), ("librispeech/test_other", None, 0.0928)],
)
def test_published_word_error_rates(
    nemo_model: Path, shared_data: Path, folder: str, subset: str | None, expected: float
) -> None:
    rate = _word_error_rate(nemo_model, load_utterances(shared_data / folder, subset))
    assert rate == pytest.approx(expected, abs=5e-5)  # the figures have two decimals of a percent


def _word_error_rate(model: Path, utterances: list) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    tokens, front = Tokens.load(model.with_name("tokens.txt")), FrontEnd.beside(model)
    references, hypotheses = [], []
    for utterance in utterances:
        features = front.features(read_audio(utterance.path, front.sample_rate))
        logprobs, lengths = session.run(
            None,
            {"audio_signal": features[None], "length": np.array([features.shape[1]], np.int64)},
        )
        references.append(utterance.text)
        hypotheses.append(tokens.text(greedy_ctc(logprobs[0], int(lengths[0]), tokens.blank)))
    return word_errors(references, hypotheses).rate

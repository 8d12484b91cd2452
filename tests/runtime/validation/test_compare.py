from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.inputs import SpeechSource
from confpress.runtime.interface import FloatArray
from confpress.runtime.model_file import load_model
from confpress.runtime.runner import Runner
from confpress.runtime.speech import FrontEnd
from confpress.runtime.validation.compare import batch_dependence, compare_outputs, difference

MakeModel = Callable[..., Path]
FEATURES = [np.zeros((80, 4), np.float32), np.zeros((80, 2), np.float32)]


def runner(path: Path) -> Runner:
    return Runner.start(load_model(path))


def test_figures_of_a_known_difference() -> None:
    """Signal 3² + 4² = 25, noise 0.5² = 0.25: 20 dB."""
    expected = [np.array([[3.0, 0.0]]), np.array([[0.0, 4.0]])]
    actual = [np.array([[3.0, 0.5]]), np.array([[0.0, 4.0]])]
    found = difference("y", FEATURES, expected, actual, True)
    assert (found.batch, found.frames) == (2, 4)
    assert (found.max_abs, found.scale) == (0.5, 4.0)
    assert found.sqnr_db == pytest.approx(20.0)
    assert found.cosine == pytest.approx(25 / np.sqrt(25 * 25.25))
    assert found.argmax_agreement == 1.0
    assert difference("y", FEATURES, expected, actual, False).argmax_agreement is None


def test_argmax_agreement_is_a_share_of_frames() -> None:
    expected = [np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])]
    actual = [np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])]
    assert difference("y", FEATURES[:1], expected, actual, True).argmax_agreement == 0.75


def test_equal_infinities_are_no_difference_and_others_are_refused() -> None:
    masked = [np.array([[0.0, -np.inf]])]
    same = difference("y", FEATURES[:1], masked, masked, True)
    assert (same.max_abs, same.sqnr_db, same.cosine) == (0.0, None, 1.0)
    for bad in (np.nan, np.inf):
        with pytest.raises(ConfpressError, match="infinities or NaN"):
            difference("y", FEATURES[:1], masked, [np.array([[bad, -np.inf]])], True)


def test_shapes_must_agree() -> None:
    with pytest.raises(ConfpressError, match=r"is \[1, 3\] where the reference has \[1, 2\]"):
        difference("y", FEATURES[:1], [np.zeros((1, 2))], [np.zeros((1, 3))], True)


def test_a_model_against_itself_and_against_a_changed_one(make_ctc: MakeModel) -> None:
    original, changed = make_ctc("a.onnx"), make_ctc("b.onnx", noise=0.05)
    source = SpeechSource(FrontEnd())
    batches = [source.batch(n, size, ragged=True) for n in (50, 120) for size in (1, 3)]
    same = compare_outputs(runner(original), runner(original), batches)
    assert [(d.output, d.batch, d.frames) for d in same[:4]] == [
        ("logprobs", 1, 50),
        ("encoded_lengths", 1, 50),
        ("logprobs", 3, 50),
        ("encoded_lengths", 3, 50),
    ]
    assert all((d.max_abs, d.sqnr_db, d.cosine) == (0.0, None, 1.0) for d in same)
    for found in compare_outputs(runner(original), runner(changed), batches):
        if found.output == "logprobs":
            assert found.max_abs > 0
            assert found.sqnr_db is not None
            assert 5 < found.sqnr_db < 60
        else:
            assert found.max_abs == 0


@pytest.mark.parametrize("size", ["batch", 3])
def test_padding_is_left_out(make_ctc: MakeModel, size: int | str) -> None:
    """Frames of this model do not influence each other, so a batch changes rounding at most."""
    path = make_ctc(batch=size)
    batch = SpeechSource(FrontEnd()).batch(100, 3, ragged=True)
    found = batch_dependence(runner(path), batch)
    assert found.max_abs < 1e-5
    assert found.argmax_agreement == 1.0


def test_frames_that_padding_adds_are_left_out(
    make_ctc: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoders that subsample a mask count more frames of an utterance among longer ones."""
    scores = Runner.scores

    def padded(self: Runner, batch: Sequence[FloatArray]) -> list[FloatArray]:
        found = scores(self, batch)
        return found if len(batch) == 1 else [np.pad(each, ((0, 2), (0, 0))) for each in found]

    monkeypatch.setattr(Runner, "scores", padded)
    found = batch_dependence(
        runner(make_ctc()), SpeechSource(FrontEnd()).batch(100, 3, ragged=True)
    )
    assert found.max_abs < 1e-5


def test_outputs_must_have_the_same_names(make_ctc: MakeModel) -> None:
    batch = SpeechSource(FrontEnd()).batch(50, 1)
    with_lengths, without = make_ctc("a.onnx"), make_ctc("b.onnx", lengths=False)
    with pytest.raises(ConfpressError, match="no output 'encoded_lengths'"):
        compare_outputs(runner(with_lengths), runner(without), [batch])

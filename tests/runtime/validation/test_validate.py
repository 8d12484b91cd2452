from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.rewrites.attention.positions import MAX_FRAMES_KEY
from confpress.runtime.recognition.asr import AsrModel, FeatureCache, Transcript, transcribe
from confpress.runtime.session import create_session
from confpress.runtime.speech import FrontEnd, Utterance, load_utterances
from confpress.runtime.validation.validate import Validation, compare_speech, validate
from onnxruntime.quantization import QuantType, quantize_dynamic

MakeModel = Callable[..., Path]


def utterance(index: int, text: str | None) -> Utterance:
    return Utterance(f"u{index}", Path(f"{index}.flac"), 1.5, text)


def heard(*texts: str) -> list[Transcript]:
    return [Transcript(f"u{i}", text, ()) for i, text in enumerate(texts)]


def test_a_model_against_itself(tiny_ctc: Path, speech_folder: Path) -> None:
    model = AsrModel.load(tiny_ctc)
    result = validate(model, model, load_utterances(speech_folder), seconds=(0.5, 1.0))
    assert {(d.frames, d.batch) for d in result.outputs} == {(50, 1), (50, 3), (100, 1), (100, 3)}
    assert all(d.max_abs == 0 for d in result.outputs)
    assert result.batch_dependence.keys() == {"reference", "candidate"}
    assert result.speech is not None
    assert result.speech.words is not None
    words = result.speech.words
    assert words.reference == words.candidate
    assert (words.difference, words.difference_interval.low, words.difference_interval.high) == (
        0.0,
        0.0,
        0.0,
    )
    assert (result.speech.changed, result.speech.worst) == (0, ())
    assert result.reference.bytes == tiny_ctc.stat().st_size
    assert Validation.model_validate_json(result.model_dump_json()) == result


def test_the_reference_is_not_transcribed_twice(
    tiny_ctc: Path, make_ctc: MakeModel, speech_folder: Path
) -> None:
    reference = AsrModel.load(tiny_ctc)
    candidate = AsrModel.load(make_ctc("changed.onnx", noise=0.3))
    utterances = load_utterances(speech_folder)
    cache = FeatureCache(reference.frontend)
    known = transcribe(reference, create_session(reference.path), utterances, cache=cache)
    given = validate(reference, candidate, utterances, reference_heard=known, cache=cache)
    assert given == validate(reference, candidate, utterances)
    assert given.speech is not None
    assert given.speech.changed > 0


def test_without_speech_numbers_are_compared_on_noise(tiny_ctc: Path, make_ctc: MakeModel) -> None:
    result = validate(AsrModel.load(tiny_ctc), AsrModel.load(make_ctc("b.onnx", noise=0.1)))
    assert result.speech is None
    scores = [d for d in result.outputs if d.output == "logprobs"]
    assert {(d.frames, d.batch) for d in scores} == {(300, 1), (300, 3), (1000, 1), (1000, 3)}
    assert all(d.max_abs > 0 for d in scores)


def test_different_front_ends_are_compared_by_words_alone(
    make_ctc: MakeModel, speech_folder: Path
) -> None:
    first = AsrModel.load(make_ctc())
    second = AsrModel.load(make_ctc("b.onnx"), frontend=FrontEnd(preemphasis=0.5))
    result = validate(first, second, load_utterances(speech_folder))
    assert result.outputs == ()
    assert result.outputs_skipped is not None
    assert "front ends" in result.outputs_skipped
    assert result.speech is not None


def test_durations_stay_within_a_trimmed_position_table(tiny_ctc: Path) -> None:
    proto = onnx.load_model(tiny_ctc)
    proto.metadata_props.add(key=MAX_FRAMES_KEY, value="200")  # 400 frames
    trimmed = tiny_ctc.with_name("trimmed.onnx")
    trimmed.write_bytes(proto.SerializeToString())
    result = validate(AsrModel.load(tiny_ctc), AsrModel.load(trimmed))
    assert {d.frames for d in result.outputs} == {300, 400}


def test_rates_intervals_and_the_worst_utterances() -> None:
    """Words 2 + 3 + 1: the reference makes one error, the candidate three."""
    utterances = [utterance(0, "A B"), utterance(1, "C D E"), utterance(2, "F")]
    result = compare_speech(
        utterances,
        heard("a b", "c d x", "f"),
        heard("a", "c d x", "f g"),
    )
    assert result.words is not None
    assert result.words.reference.rate == pytest.approx(1 / 6)
    assert result.words.candidate.rate == pytest.approx(3 / 6)
    assert result.words.difference == pytest.approx(2 / 6)
    interval = result.words.difference_interval
    assert 0 <= interval.low <= 2 / 6 <= interval.high <= 1
    counts = result.words.candidate
    assert (counts.substitutions, counts.deletions, counts.insertions) == (1, 1, 1)
    assert result.changed == 2
    assert result.disagreement.errors == 2
    assert {w.id: (w.reference_errors, w.candidate_errors) for w in result.worst} == {
        "u0": (0, 1),
        "u2": (0, 1),
    }


def test_without_texts_there_is_the_disagreement() -> None:
    utterances = [utterance(0, None), utterance(1, None)]
    result = compare_speech(utterances, heard("a b", "c"), heard("a x", "c"))
    assert result.words is None
    assert result.characters is None
    assert result.disagreement.rate == pytest.approx(1 / 3)
    assert [(w.id, w.reference_errors, w.candidate_errors) for w in result.worst] == [
        ("u0", None, 1)
    ]


def test_utterances_without_text_count_for_the_disagreement_only() -> None:
    utterances = [utterance(0, None), utterance(1, "C D")]
    result = compare_speech(utterances, heard("a", "c d"), heard("x", "c d"))
    assert result.words is not None
    assert result.words.candidate.reference == 2
    assert result.words.candidate.errors == 0
    assert result.disagreement.errors == 1


def test_refusals() -> None:
    utterances = [utterance(0, "A")]
    with pytest.raises(ConfpressError, match="not of the same utterances"):
        compare_speech(utterances, heard("a"), heard("a", "b"))
    with pytest.raises(ConfpressError, match="heard no word in 1 utterances"):
        compare_speech(utterances, heard(""), heard("a"))


def test_int8_of_all_operators_harms_a_real_model(
    nemo_model: Path, an4_test: list[Utterance], tmp_path: Path
) -> None:
    """`quantize_dynamic` of every operator loses about ten points on AN4, most in spelt words."""
    ruined = tmp_path / "all.onnx"
    quantize_dynamic(nemo_model, ruined, per_channel=True, weight_type=QuantType.QInt8)
    reference = AsrModel.load(nemo_model)
    candidate = dataclasses.replace(reference, path=ruined)
    spelt = [u for u in an4_test if u.id.startswith("cen5")][:4]
    result = validate(reference, candidate, spelt, seconds=(3.0,), batch_sizes=(1,))
    assert all(15 < (d.sqnr_db or 99) < 35 for d in result.outputs if d.output == "logprobs")
    assert result.speech is not None
    assert result.speech.words is not None
    assert result.speech.words.difference > 0.05
    assert result.speech.words.difference_interval.high > result.speech.words.difference
    assert result.speech.worst


@pytest.mark.parametrize(("speakers", "drawn"), [(8, "speakers"), (7, "utterances")])
def test_intervals_draw_speakers_where_there_are_enough(speakers: int, drawn: str) -> None:
    utterances = [
        Utterance(f"u{i}", Path(f"u{i}.flac"), 1.0, "a b c d", f"s{i % speakers}")
        for i in range(5 * speakers)
    ]
    right = [Transcript(u.id, "a b c d", (1,)) for u in utterances]
    # All errors are one speaker's.
    wrong = [
        Transcript(u.id, "a b c x" if u.speaker == "s0" else "a b c d", (1,)) for u in utterances
    ]
    found = compare_speech(utterances, right, wrong)
    assert found.drawn == drawn
    assert found.words is not None
    assert found.words.difference == pytest.approx(0.25 / speakers)
    # A draw without that speaker has no error at all; a draw of 35 utterances without all five is
    # rare.
    assert (found.words.difference_interval.low == 0) == (drawn == "speakers")

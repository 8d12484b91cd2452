from __future__ import annotations

import pytest
from confpress.optimizer.gate import EXIT_STATUS, exit_status, judge, judge_model, with_stages
from confpress.runtime.recognition.asr import Transcript
from confpress.runtime.speech import Utterance
from confpress.runtime.validation.validate import SpeechComparison, compare_speech


def compared(wrong: int, of: int = 40) -> SpeechComparison:
    """A candidate that misses one of four words in `wrong` of the utterances."""
    from pathlib import Path

    said = "one two three four"
    utterances = [Utterance(f"u{i}", Path(f"u{i}.flac"), 1.0, said) for i in range(of)]
    before = [Transcript(u.id, said, (1,)) for u in utterances]
    after = [
        Transcript(u.id, "one two three" if i < wrong else said, (1,))
        for i, u in enumerate(utterances)
    ]
    return compare_speech(utterances, before, after)


@pytest.mark.parametrize(
    ("wrong", "limit", "outcome"),
    [(0, 0.0, "pass"), (2, 10.0, "pass"), (40, 1.0, "fail"), (2, 1.0, "undecided")],
)
def test_the_interval_decides(wrong: int, limit: float, outcome: str) -> None:
    verdict = judge({"cpu": compared(wrong)}, limit)
    assert verdict.outcome == outcome
    assert verdict.targets[0].difference == pytest.approx(wrong / 160)
    assert "cpu" in verdict.sentence


def test_the_worst_target_decides() -> None:
    verdict = judge({"portable": compared(0), "cpu": compared(40)}, 1.0)
    assert verdict.outcome == "fail"
    assert [t.outcome for t in verdict.targets] == ["pass", "fail"]
    verdict = judge({"portable": compared(0), "cpu": compared(2)}, 1.0)
    assert verdict.outcome == "undecided"


def test_each_outcome_has_its_exit_status() -> None:
    assert EXIT_STATUS == {"pass": 0, "fail": 3, "undecided": 4}


def test_undecided_may_be_taken_for_either_answer() -> None:
    assert exit_status("undecided") == 4
    assert exit_status("undecided", "pass") == 0
    assert exit_status("undecided", "fail") == 3
    assert exit_status("fail", "pass") == 3
    assert exit_status("pass", "fail") == 0


def test_the_speech_that_is_asked_for_would_decide() -> None:
    first = compared(2)
    verdict = judge({"cpu": first}, 2.5)
    factor = verdict.targets[0].speech_factor
    assert verdict.outcome == "undecided"
    assert factor is not None and factor > 1
    assert f"{factor:.1f} times as much speech" in verdict.sentence
    # The same rate of errors in so much more speech, and a little more for the bootstrap's noise.
    times = 1.15 * factor
    assert judge({"cpu": compared(round(2 * times), round(40 * times))}, 2.5).outcome == "pass"


def test_a_difference_on_the_limit_is_never_decided() -> None:
    verdict = judge({"cpu": compared(2)}, 100 * compared(2).words.difference)  # type: ignore[union-attr]
    assert verdict.targets[0].speech_factor is None
    assert "no amount of speech" in verdict.sentence


def test_the_first_stage_that_does_not_pass_is_to_blame() -> None:
    good, bad = (judge_model(name, compared(n), 1.0) for name, n in (("sparsify", 0), ("q", 40)))
    verdict = judge({"cpu": compared(40)}, 1.0)
    blamed = with_stages(verdict, [good, bad])
    assert blamed.stages == (good, bad)
    assert "After the stage q the model fails for the first time" in blamed.sentence
    assert "After sparsify the model passes: lower.cpu is to blame" in (
        with_stages(verdict, [good]).sentence
    )
    assert with_stages(verdict, []) == verdict
    passed = judge({"cpu": compared(0)}, 1.0)
    assert with_stages(passed, [good]).sentence == passed.sentence

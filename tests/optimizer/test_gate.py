from __future__ import annotations

import pytest
from confpress.optimizer.gate import EXIT_STATUS, judge
from confpress.runtime.asr import Transcript
from confpress.runtime.speech import Utterance
from confpress.runtime.validate import SpeechComparison, compare_speech


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

"""The limit on the word error rate, with the three answers that data can give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from ..runtime.record import Record
from ..runtime.speech import Interval
from ..runtime.validate import SpeechComparison

Outcome = Literal["pass", "fail", "undecided"]

#: Exit statuses of commands that take a limit.
EXIT_STATUS: Mapping[Outcome, int] = {"pass": 0, "fail": 3, "undecided": 4}


class TargetVerdict(Record):
    """The answer for one model."""

    target: str = Field(description="the model judged")
    outcome: Outcome = Field(description="of this model")
    difference: float = Field(description="its rate less the original's, as a fraction")
    interval: Interval = Field(description="95 % interval of the difference")


class Verdict(Record):
    """The answer for the whole result: the worst of its models."""

    max_wer_increase: float = Field(description="the limit, in percentage points")
    outcome: Outcome = Field(description="of all models together")
    targets: tuple[TargetVerdict, ...] = Field(description="one answer a model")
    sentence: str = Field(description="the answer in words")


def judge(speech: Mapping[str, SpeechComparison], limit: float) -> Verdict:
    """Compares the intervals of differences with a limit.

    A model passes if its interval's upper end is at most the limit, fails if the lower end is
    above it, and is undecided in between: more speech would tell.

    Args:
        speech: Comparison with the original by model; each has word error rates.
        limit: Percentage points that a model may lose.

    Raises:
        ValueError: a comparison has no word error rates.
    """
    targets = tuple(_judge(name, comparison, limit) for name, comparison in speech.items())
    outcome = max((t.outcome for t in targets), key=_FROM_GOOD_TO_BAD.index, default="pass")
    parts = [
        f"{t.target} {_SAYS[t.outcome]} ({100 * t.difference:+.2f} points, interval "
        f"{100 * t.interval.low:+.2f} to {100 * t.interval.high:+.2f})"
        for t in targets
    ]
    sentence = f"At most {limit:g} points more word errors: {'; '.join(parts)}."
    return Verdict(max_wer_increase=limit, outcome=outcome, targets=targets, sentence=sentence)


_FROM_GOOD_TO_BAD: Sequence[Outcome] = ("pass", "undecided", "fail")
_SAYS: Mapping[Outcome, str] = {
    "pass": "passes",
    "fail": "fails",
    "undecided": "is undecided and needs more speech",
}


def _judge(name: str, comparison: SpeechComparison, limit: float) -> TargetVerdict:
    words = comparison.words
    if words is None:
        raise ValueError(f"{name} was not compared on speech with texts")
    interval = words.difference_interval
    outcome: Outcome = "undecided"
    if 100 * interval.high <= limit:
        outcome = "pass"
    elif 100 * interval.low > limit:
        outcome = "fail"
    return TargetVerdict(
        target=name, outcome=outcome, difference=words.difference, interval=interval
    )

"""The limit on the word error rate, with the three answers that data can give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from ..runtime.record import Record
from ..runtime.speech import Interval
from ..runtime.validation.validate import SpeechComparison
from .text import points, points_interval
from .text import seconds as duration

Outcome = Literal["pass", "fail", "undecided"]

#: Exit statuses of commands that take a limit.
EXIT_STATUS: Mapping[Outcome, int] = {"pass": 0, "fail": 3, "undecided": 4}


class TargetVerdict(Record):
    """The answer for one model."""

    target: str = Field(description="the model judged, or the stage that it was judged after")
    outcome: Outcome = Field(description="of this model")
    difference: float = Field(description="its rate less the original's, as a fraction")
    interval: Interval = Field(description="95 % interval of the difference")
    speech_factor: float | None = Field(
        description="about how many times as much speech would decide; none if decided, or if the "
        "difference lies on the limit"
    )


class Verdict(Record):
    """The answer for the whole result: the worst of its models."""

    max_wer_increase: float = Field(description="the limit, in percentage points")
    outcome: Outcome = Field(description="of all models together")
    targets: tuple[TargetVerdict, ...] = Field(description="one answer a model")
    stages: tuple[TargetVerdict, ...] = Field(
        default=(), description="one answer a lossy stage, in their order, where it was asked for"
    )
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
    targets = tuple(judge_model(name, comparison, limit) for name, comparison in speech.items())
    outcome = max((t.outcome for t in targets), key=_FROM_GOOD_TO_BAD.index, default="pass")
    parts = [
        f"{t.target} {_SAYS[t.outcome]} ({points(t.difference)} points, interval "
        f"{points_interval(t.interval)}){_more(t, speech[t.target].seconds)}"
        for t in targets
    ]
    sentence = f"At most {limit:g} points more word errors: {'; '.join(parts)}."
    return Verdict(max_wer_increase=limit, outcome=outcome, targets=targets, sentence=sentence)


def with_stages(verdict: Verdict, stages: Sequence[TargetVerdict]) -> Verdict:
    """The verdict with the answers after each lossy stage, and the stage to blame in words.

    To blame is the first stage behind which a model no longer passes; lowering, where all before
    it passed.

    Args:
        verdict: On the models of the result.
        stages: Answers of the stages before lowering, in their order; empty leaves the verdict.
    """
    if not stages:
        return verdict
    first = next((stage for stage in stages if stage.outcome != "pass"), None)
    lowered = [f"lower.{t.target}" for t in verdict.targets if t.outcome != "pass"]
    passed = ", ".join(stage.target for stage in stages)
    blame = ""
    if first is not None:
        blame = (
            f" After the stage {first.target} the model {_SAYS[first.outcome]} for the first time "
            f"({points(first.difference)} points, interval {points_interval(first.interval)})."
        )
    elif lowered:
        blame = f" After {passed} the model passes: {', '.join(lowered)} is to blame."
    return verdict.model_copy(
        update={"stages": tuple(stages), "sentence": verdict.sentence + blame}
    )


_FROM_GOOD_TO_BAD: Sequence[Outcome] = ("pass", "undecided", "fail")
_SAYS: Mapping[Outcome, str] = {
    "pass": "passes",
    "fail": "fails",
    "undecided": "is undecided",
}


def exit_status(outcome: Outcome, on_undecided: Outcome | None = None) -> int:
    """The exit status of an outcome; undecided may be taken for another one."""
    taken = on_undecided if outcome == "undecided" and on_undecided is not None else outcome
    return EXIT_STATUS[taken]


def _more(target: TargetVerdict, seconds: float) -> str:
    """How much speech would decide, in words."""
    if target.outcome != "undecided":
        return ""
    if target.speech_factor is None:
        return ", and no amount of speech decides a difference that lies on the limit"
    needed = target.speech_factor * seconds
    return (
        f": about {target.speech_factor:.1f} times as much speech ({duration(needed)}) would "
        "decide, if the difference stays what it is"
    )


def judge_model(name: str, comparison: SpeechComparison, limit: float) -> TargetVerdict:
    """Compares the interval of one model's difference with a limit, in percentage points.

    Raises:
        ValueError: the comparison has no word error rates.
    """
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
        target=name,
        outcome=outcome,
        difference=words.difference,
        interval=interval,
        speech_factor=_factor(words.difference, interval, limit / 100)
        if outcome == "undecided"
        else None,
    )


def _factor(difference: float, interval: Interval, limit: float) -> float | None:
    """How many times as much speech takes the limit out of the interval.

    An interval's half width falls with the square root of the data's amount.
    """
    if difference == limit:
        return None
    half = interval.high - difference if difference < limit else difference - interval.low
    return (half / (limit - difference)) ** 2

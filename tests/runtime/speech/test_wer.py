from __future__ import annotations

import numpy as np
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.speech import character_errors, word_errors


def test_counts_by_utterance() -> None:
    counts = word_errors(["One two three", "yes", "go"], ["one too  three four", "YES", ""])
    assert counts.reference.tolist() == [3, 1, 1]
    assert counts.substitutions.tolist() == [1, 0, 0]
    assert counts.insertions.tolist() == [1, 0, 0]
    assert counts.deletions.tolist() == [0, 0, 1]
    assert counts.rate == pytest.approx(3 / 5)


def test_characters_count_spaces() -> None:
    counts = character_errors(["a b"], ["ab"])
    assert counts.reference.tolist() == [3]
    assert counts.rate == pytest.approx(1 / 3)


def test_an_empty_reference_among_others_only_takes_insertions() -> None:
    counts = word_errors(["one", ""], ["one", "two"])
    assert counts.reference.tolist() == [1, 0]
    assert counts.insertions.tolist() == [0, 1]


@pytest.mark.filterwarnings("error")
def test_resamples_of_silence_alone_leave_the_interval_finite() -> None:
    counts = word_errors(["one", "", ""], ["one", "two", ""])
    assert counts.interval().low == 0.0
    assert counts.interval().high == 2.0
    other = word_errors(["one", "", ""], ["one", "", ""])
    assert counts.difference(other).low == -2.0


def test_the_interval_holds_the_rate_and_repeats() -> None:
    references = ["one two three four"] * 40
    hypotheses = ["one two three four" if i % 4 else "one two" for i in range(40)]
    counts = word_errors(references, hypotheses)
    interval = counts.interval()
    assert interval == counts.interval()
    assert interval.low < counts.rate < interval.high
    # The errors are binomial: 0.5 of a word's weight, standard deviation by the book.
    deviation = 0.5 * np.sqrt(0.25 * 0.75 / 40)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * deviation, rel=0.15)


def test_paired_difference_of_equal_systems_is_zero() -> None:
    counts = word_errors(["one two", "three"], ["one", "four"])
    assert counts.difference(counts).low == counts.difference(counts).high == 0.0


def test_pairing_narrows_the_difference() -> None:
    """Two systems that fail on the same hard utterances, one of them once more."""
    references = ["a b c d"] * 60
    first = ["a b c d" if i % 3 else "x x x x" for i in range(60)]
    second = [*first[:-1], "a b c x"]
    counts, other = word_errors(references, first), word_errors(references, second)
    paired = counts.difference(other)
    assert 0.0 <= paired.low <= other.rate - counts.rate <= paired.high
    single = other.interval()
    assert paired.high - paired.low < 0.2 * (single.high - single.low)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ConfpressError, match="2 references do not match 1"):
        word_errors(["a", "b"], ["a"])
    with pytest.raises(ConfpressError, match="at least one reference"):
        word_errors([" "], ["a"])
    with pytest.raises(ConfpressError, match="same utterances"):
        word_errors(["a b"], ["a"]).difference(word_errors(["a"], ["a"]))


def test_errors_that_go_together_widen_the_interval() -> None:
    """Ten speakers of eight utterances; the errors are those of three speakers."""
    references = ["a b c d"] * 80
    speakers = [f"s{i // 8}" for i in range(80)]
    counts = word_errors(references, ["a x c d" if i < 24 else "a b c d" for i in range(80)])
    grouped = counts.grouped(speakers)
    assert grouped.reference.tolist() == [32] * 10
    assert grouped.errors.tolist() == [8] * 3 + [0] * 7
    assert grouped.rate == counts.rate
    single, together = counts.interval(), grouped.interval()
    # By the book, the deviation of a mean of 10 instead of 80 draws: the root of 8 times as wide.
    ratio = (together.high - together.low) / (single.high - single.low)
    assert ratio == pytest.approx(np.sqrt(8), rel=0.15)

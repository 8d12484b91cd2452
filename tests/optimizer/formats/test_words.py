"""Formats within a limit on the word error rate: the search, and the speech that it needs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from confpress.optimizer.formats.budget import Allocation
from confpress.optimizer.formats.words import TRIALS, smallest_plan
from confpress.passes.errors import ConfpressError
from confpress.passes.format_plan import FormatPlan, LayerFormat
from confpress.runtime.speech import Interval
from confpress.runtime.validation.validate import ErrorRate, RateComparison

from ..conftest import Confpress

#: Bytes of the smallest and of the largest plan.
SIZES = (2**20, 2**23)


def within(room: int) -> Allocation:
    """A plan that takes all its room, which the name of its layer states."""
    plan = FormatPlan(layers={str(room): LayerFormat(weight="int8")})
    return Allocation(plan, error=1 / room, bytes=room, milliseconds=0)


def lost(plan: FormatPlan) -> RateComparison:
    """Words of a model that loses a point where the size is half of the largest, and so on."""
    points = math.log2(SIZES[1] / int(*plan.layers)) / 100
    counts = {"errors": 5, "reference": 100, "substitutions": 5, "deletions": 0, "insertions": 0}
    around = Interval(low=points - 0.01, high=points + 0.01)
    rate = ErrorRate(rate=0.05 + points, interval=around, **counts)
    return RateComparison(
        reference=rate, candidate=rate, difference=points, difference_interval=around
    )


@pytest.mark.parametrize("limit", [0.5, 1.0, 2.3])
def test_the_smallest_plan_within_the_limit(limit: float) -> None:
    told: list[str] = []
    found, notes = smallest_plan(within, lost, SIZES, limit, told.append)
    assert len(notes) == TRIALS + 1 and list(notes) == told
    least = SIZES[1] / 2**limit
    # Three octaves, halved five times.
    assert least * 0.999 <= found.bytes <= least * 2 ** (3 / 2**TRIALS) * 1.001
    assert f"within the limit of {limit:g}" in "".join(notes)
    assert "95 % interval" in notes[0]


def test_the_largest_plan_stays_where_all_others_fail() -> None:
    found, _ = smallest_plan(within, lost, SIZES, 0.0, str)
    assert found.bytes == SIZES[1]


def test_the_largest_plan_may_fail_too() -> None:
    told: list[str] = []
    said = r"not even the largest: 8\.39 MB of weights: WER 5\.00 %.* above the limit.* int8\."
    with pytest.raises(ConfpressError, match=said):
        smallest_plan(within, lost, SIZES, -0.1, told.append, "Its convolutions are int8.")
    assert len(told) == 1


def test_plans_too_slow_are_not_tried() -> None:
    def fast(room: int) -> Allocation:
        if room < 2**22:
            raise ConfpressError("no choice of formats stays within 1 ms of linear layers.")
        return within(room)

    found, notes = smallest_plan(fast, lost, SIZES, 10.0, str)
    assert 2**22 <= found.bytes <= 2**22.2
    assert all("within the limit" in note for note in notes)


def test_formats_are_chosen_by_words(
    confpress: Confpress,
    tiny_ctc: Path,
    speech_folder: Path,
    other_speech: Path,
    tmp_path: Path,
) -> None:
    arguments = (
        *("quantize", tiny_ctc, "-o", tmp_path / "out.onnx", "--calibration", speech_folder),
        *("--formats", "mixed", "--float-frames", "--max-wer-increase", "1000"),
    )
    done = confpress(*arguments, "--selection", other_speech)
    assert done.status == 0, done.err
    assert "within the limit of 1000" in done.err
    shared = confpress(*arguments, "--selection", speech_folder)
    assert shared.status == 1
    assert "both the calibration and the selection speech" in shared.err
    (other_speech / "manifest.tsv").unlink()
    silent = confpress(*arguments, "--selection", other_speech)
    assert silent.status == 1
    assert "has no texts" in silent.err


def test_selection_belongs_to_a_limit(
    confpress: Confpress, tiny_ctc: Path, speech_folder: Path, other_speech: Path, tmp_path: Path
) -> None:
    start = ("optimize", tiny_ctc, "-o", tmp_path / "out", "--calibration", speech_folder)
    alone = confpress(*start, "--selection", other_speech)
    assert alone.status == 1
    assert "give --max-wer-increase" in alone.err
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[formats]\nchoice = "mixed"\nmax_wer_increase = 0.5\n')
    without = confpress(*start, "--recipe", recipe)
    assert without.status == 1
    assert "give --selection" in without.err
    recipe.write_text('[formats]\nchoice = "mixed"\nmax_wer_increase = 0.5\nmax_size = 9\n')
    both = confpress(*start, "--recipe", recipe, "--selection", other_speech)
    assert both.status == 1
    assert "goes with max_latency" in both.err

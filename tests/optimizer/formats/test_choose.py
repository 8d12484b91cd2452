"""The choice of formats: what is measured once, and what a size leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from confpress.optimizer.formats.choose import choose_formats
from confpress.optimizer.formats.sensitivity import COARSE, MIXED, Known
from confpress.optimizer.formats.size import portable_size
from confpress.optimizer.formats.wish import Wish
from confpress.passes.errors import ConfpressError
from confpress.passes.format_choice import eligible_layers
from confpress.passes.format_plan import FormatPlan
from confpress.runtime.cache import Cache
from confpress.runtime.calibration.calibrate import CalibrationSet, load_calibration
from confpress.runtime.model_file import load_model
from confpress.runtime.speech.frontend import FrontEnd


@pytest.fixture
def recordings(speech_folder: Path) -> CalibrationSet:
    return load_calibration(speech_folder, FrontEnd())


def written(cache: Path) -> dict[str, int]:
    """When files were written, by what they hold."""
    return {path.name.split("-")[0]: path.stat().st_mtime_ns for path in cache.iterdir()}


def test_an_exclusion_does_not_calibrate_again(
    tiny_ctc: Path, recordings: CalibrationSet, tmp_path: Path
) -> None:
    told: list[str] = []
    known = Known(Cache(tmp_path / "cache", told.append), "model and speech")
    size = tiny_ctc.stat().st_size - 2500
    first = choose_formats(
        load_model(tiny_ctc), recordings, Wish("mixed", max_bytes=size), known
    ).plan.layers
    assert not told
    kept = written(tmp_path / "cache")
    assert set(kept) == {"statistics", "sensitivities"}
    wish = Wish("mixed", max_bytes=size, exclude=tuple(first))
    with pytest.raises(ConfpressError, match="all are excluded"):
        choose_formats(load_model(tiny_ctc), recordings, wish, known)
    assert len(told) == 1 and "known from an earlier run" in told[0]
    assert kept == written(tmp_path / "cache")


def test_what_is_fast_enough_changes_least(tiny_ctc: Path, recordings: CalibrationSet) -> None:
    model = load_model(tiny_ctc)
    at_ease = choose_formats(model, recordings, Wish("mixed", max_milliseconds=1e6))
    assert {form.weight for form in at_ease.plan.layers.values()} == {"float32"}
    assert "5 s of speech on target cpu" in at_ease.notes[1]
    with pytest.raises(ConfpressError, match="ms of linear layers: the least possible is"):
        choose_formats(model, recordings, Wish("mixed", max_milliseconds=1e-6))


def test_the_smallest_file_within_a_change(tiny_ctc: Path, recordings: CalibrationSet) -> None:
    model = load_model(tiny_ctc)
    found = {
        limit: choose_formats(model, recordings, Wish("mixed", max_error=limit)).plan
        for limit in (1e-30, 1e9)
    }
    weights = {limit: {f.weight for f in plan.layers.values()} for limit, plan in found.items()}
    assert weights[1e-30] == {"float32"}
    assert weights[1e9] <= {"int4", "fp4"}


@pytest.mark.parametrize("wish", [{"choice": "mixed"}, {"choice": "mofq4", "max_error": 1.0}])
def test_limits_belong_to_mixed(wish: dict[str, object]) -> None:
    with pytest.raises(ConfpressError, match="limits go with"):
        Wish(**wish)  # type: ignore[arg-type]


def test_coarse_formats_only_where_nothing_else_fits(
    tiny_ctc: Path, recordings: CalibrationSet, tmp_path: Path
) -> None:
    known = Known(Cache(tmp_path / "cache"), "model and speech")
    model = load_model(tiny_ctc)
    wish = Wish("mixed", max_bytes=2**40)
    layers = [layer.id for layer in eligible_layers(model)]
    fine = next(form for form in MIXED if form.weight == "int4")
    size = portable_size(model, FormatPlan(layers=dict.fromkeys(layers, fine)), wish)
    for room, coarse in ((0, False), (1, True)):
        wish = Wish("mixed", integer_frames=False, max_bytes=size - room)
        plan = choose_formats(load_model(tiny_ctc), recordings, wish, known).plan
        assert any(form in COARSE[0] for form in plan.layers.values()) == coarse

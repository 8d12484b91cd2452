from __future__ import annotations

import dataclasses

import pytest
from confpress.optimizer.recipe import Recipe, preset
from confpress.optimizer.stages import LOSSLESS_STAGES, LOWER, QUANTIZE, Findings, Skip
from confpress.passes.quantize import Range

#: Fields of passes that are measured, not chosen.
MEASURED = {"ranges"}
#: Fields that the recipe says in other units.
RENAMED = {("positions", "max_frames"): "max_seconds"}


@pytest.mark.parametrize("stage", [*LOSSLESS_STAGES, QUANTIZE], ids=lambda stage: stage.name)
def test_the_recipe_says_every_option_of_a_pass(stage) -> None:
    passes = stage.passes(Recipe(), Findings(ranges={"x": Range(0, 1)}))
    options = {f.name for each in passes for f in dataclasses.fields(each)} - MEASURED
    if not options:
        return
    section = getattr(Recipe(), stage.name)
    for option in options:
        assert hasattr(section, RENAMED.get((stage.name, option), option)), option


def test_switched_off_stages_say_why() -> None:
    recipe = Recipe().replace(
        {
            "positions": {"mode": "keep"},
            "pointwise": {"enabled": False},
            "merge_linears": {"enabled": False},
        }
    )
    skipped = {
        stage.name: skip.reason
        for stage in LOSSLESS_STAGES
        if isinstance(skip := stage.passes(recipe, Findings()), Skip)
    }
    assert set(skipped) == {"positions", "pointwise", "merge_linears"}
    assert all(reason.startswith("the recipe") for reason in skipped.values())


def test_convolutions_stay_float_without_ranges() -> None:
    (without,) = QUANTIZE.passes(Recipe(), Findings())
    assert without.linear == "int8"
    assert without.convolution == "float32"
    ranges = {"x": Range(0.0, 1.0)}
    (with_ranges,) = QUANTIZE.passes(Recipe(), Findings(ranges=ranges))
    assert with_ranges.convolution == "int8"
    assert with_ranges.ranges == ranges


def test_the_lossless_preset_quantises_nothing() -> None:
    assert isinstance(QUANTIZE.passes(preset("lossless"), Findings()), Skip)


def test_every_target_ends_with_the_lowest_versions() -> None:
    for stage in LOWER.values():
        assert type(stage.passes(Recipe(), Findings())[-1]).__name__ == "MinimiseVersions"

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
from confpress.optimizer.recipe.recipe import Recipe, preset
from confpress.optimizer.sparse_pass import sparsify_stage
from confpress.optimizer.stages import (
    LOSSLESS_STAGES,
    LOWER,
    QUANTIZE,
    Findings,
    Skip,
    passes_of,
)
from confpress.passes.quantize import Range
from confpress.passes.seven_bits import SevenBits
from confpress.passes.sparsify import PATTERNS, SHARES

#: Fields of passes that are measured or given as a file, not chosen in a recipe.
MEASURED = {"ranges", "importance", "plan", "repaired"}
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


def test_zeros_are_set_where_the_recipe_asks_for_them() -> None:
    stage = sparsify_stage(None, "")
    assert isinstance(stage.passes(Recipe(), Findings()), Skip)
    asked = Recipe().replace({"sparsify": {"pattern": "2:16", "least_energy": 0.1}})
    (sparsify,) = stage.passes(asked, Findings())
    assert (sparsify.pattern, sparsify.least_energy) == ("2:16", 0.1)
    assert not stage.lossless


def test_every_recipe_pattern_is_one_of_the_pass() -> None:
    section = type(Recipe().sparsify)
    offered = get_args(section.model_fields["pattern"].annotation)
    assert set(offered) == {"none", *PATTERNS, *SHARES}


def test_every_target_ends_with_the_lowest_versions() -> None:
    for stage in LOWER.values():
        assert type(stage.passes(Recipe(), Findings())[-1]).__name__ == "MinimiseVersions"


@pytest.mark.parametrize(("instructions", "seven"), [("avx2", True), ("here", False)])
def test_target_cpu_has_weights_of_seven_bits_where_they_are_asked_for(
    instructions: str, seven: bool
) -> None:
    recipe = Recipe().replace({"lower": {"instructions": instructions}})
    passes = passes_of(LOWER["cpu"], recipe)
    assert any(isinstance(each, SevenBits) for each in passes) == seven

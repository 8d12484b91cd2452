from __future__ import annotations

from pathlib import Path

import pytest
from confpress.optimizer.recipe.presets import PRESETS
from confpress.optimizer.recipe.recipe import Recipe, load_recipe, preset
from confpress.passes.errors import ConfpressError
from pydantic import ValidationError


def load(tmp_path: Path, text: str, **options: str) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, **options)


def test_a_file_is_set_on_top_of_a_preset(tmp_path: Path) -> None:
    recipe = load(tmp_path, "[bench]\nrounds = 5\n", preset_name="lossless")
    assert recipe.bench.rounds == 5
    assert recipe.bench.seconds == (10.0,)
    assert recipe.quantize.linear == "float32"
    assert recipe.lossless


def test_every_preset_is_a_valid_recipe() -> None:
    for name in PRESETS:
        assert isinstance(preset(name), Recipe)
    assert preset("default") == Recipe()


def test_a_whole_number_is_taken_for_seconds(tmp_path: Path) -> None:
    recipe = load(tmp_path, '[positions]\nmode = "trim"\nmax_seconds = 30\n')
    assert recipe.positions.max_seconds == 30.0


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "[quantize]\n\nlinaer = 'int8'",
            [
                "line 3",
                "'quantize.linaer'",
                "did you mean 'linear'",
                "linear, convolution, exclude",
            ],
        ),
        ("quantise.linear = 1", ["line 1", "unknown section 'quantise'", "'quantize'", "bench"]),
        ("[quantize]\nlinear = 'int3'", ["line 2", 'quantize.linear = "int3"', "'float32'"]),
        ("[bench]\nrounds = '5'", ["line 2", 'bench.rounds = "5"', "integer"]),
        ("bench.rounds = 0", ["line 1", "bench.rounds = 0", "3"]),
        ("[bench]\nseconds = [nan]", ["line 2", "bench.seconds", "finite"]),
        ("[lower]\ntargets = ['gpu']", ["line 2", "lower.targets", "'portable', 'cpu' or 'cuda'"]),
        ("[lower]\ntargets = ['cpu', 'cpu']", ["[lower]", "once"]),
        ("[positions]\nmode = 'trim'", ["line 1", "[positions]", "max_seconds"]),
        ("[bench]\nrounds == 5", ["is not TOML", "line 2"]),
    ],
)
def test_errors_name_line_key_and_what_is_allowed(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    with pytest.raises(ConfpressError) as error:
        load(tmp_path, text)
    sentence = str(error.value)
    assert "recipe.toml" in sentence
    assert "\n" not in sentence
    for part in parts:
        assert part in sentence


def test_a_recipe_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfpressError, match="cannot read the recipe"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfpressError, match="cannot read the recipe"):
        load_recipe(tmp_path / "binary.toml")


def test_an_unknown_preset_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfpressError, match=r"'losless'; did you mean 'lossless'\? .*linear"):
        load_recipe(None, "losless")


def test_replace_checks_and_keeps_the_rest() -> None:
    recipe = preset("lossless").replace({"lower": {"targets": ["cpu"]}})
    assert recipe.lower.targets == ("cpu",)
    assert recipe.lossless
    with pytest.raises(ConfpressError, match=r"the options: bench\.rounds = 0"):
        recipe.replace({"bench": {"rounds": 0}})


def test_recipes_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Recipe().bench.rounds = 3  # type: ignore[misc]


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes(b"\xef\xbb\xbf[bench]\r\nrounds = 7\r\n")
    assert load_recipe(tmp_path / "recipe.toml").bench.rounds == 7

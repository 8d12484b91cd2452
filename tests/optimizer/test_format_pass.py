"""Formats as a stage of the pipeline: chosen, repaired, lowered, audited."""

from __future__ import annotations

from pathlib import Path

import pytest
from confpress import optimize
from confpress.optimizer.recipe import Recipe, load_recipe
from confpress.passes.errors import ConfpressError

from .conftest import Confpress


@pytest.fixture
def recipe(fast_recipe: Path) -> Recipe:
    changes = {"bench": {"enabled": False}, "quantize": {"convolution": "float32"}}
    return load_recipe(fast_recipe).replace(changes)


def test_formats_are_chosen_repaired_and_run_as_planned(
    tiny_ctc: Path, speech_folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    wanted = recipe.replace({"formats": {"choice": "mofq4", "repair": "both"}})
    report = optimize(tiny_ctc, wanted, output=tmp_path / "out", calibration=speech_folder).report
    (stage,) = (stage for stage in report.stages if stage.name == "formats")
    assert stage.status == "done"
    assert any("4 per block of 32, activations int8" in change.what for change in stage.changes)
    assert all("repaired" in change.what for change in stage.changes if "linear:" in change.what)
    runs = {name: {layer.stated for layer in each.layers} for name, each in report.audit.items()}
    assert "storage" in runs["portable"]
    assert "low-bit" in runs["cpu"]


def test_a_size_is_kept(
    confpress: Confpress, tiny_ctc: Path, speech_folder: Path, fast_recipe: Path, tmp_path: Path
) -> None:
    size = tiny_ctc.stat().st_size - 2500
    done = confpress(
        *("optimize", tiny_ctc, "-o", tmp_path / "out", "--recipe", fast_recipe),
        *("--calibration", speech_folder, "--target", "portable", "--max-size", f"{size / 1e6}"),
    )
    assert done.status == 0, done.err
    assert (tmp_path / "out" / "portable" / "model.onnx").stat().st_size <= size


def test_formats_need_speech(tiny_ctc: Path, recipe: Recipe, tmp_path: Path) -> None:
    wanted = recipe.replace({"formats": {"choice": "mofq4"}})
    with pytest.raises(ConfpressError, match="need calibration speech; give --calibration"):
        optimize(tiny_ctc, wanted, output=tmp_path / "out")


@pytest.mark.parametrize(
    ("formats", "reason"),
    [
        ({"choice": "mixed"}, "needs max_size, max_latency or max_error"),
        ({"choice": "mofq4", "plan": "plan.json"}, "plan goes with"),
        ({"repair": "gptq"}, "repair needs a choice"),
    ],
)
def test_options_belong_to_choices(recipe: Recipe, formats: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfpressError, match=reason):
        recipe.replace({"formats": formats})

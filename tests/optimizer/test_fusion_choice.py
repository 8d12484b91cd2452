"""Fusions that a machine is faster without are left out, and so are those that nobody wants."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from confpress import optimize
from confpress.optimizer import fusion_choice
from confpress.optimizer.demo import demo_folder
from confpress.optimizer.fusion_choice import choose_fusions
from confpress.optimizer.recipe.recipe import BenchSection, Recipe, load_recipe
from confpress.optimizer.result.decisions import DECISIONS
from confpress.passes.base import Change, PassResult
from confpress.passes.rewrites.sizes.static_sizes import StaticSizes
from confpress.runtime.benchmark.bench import BenchOptions
from confpress.runtime.benchmark.timing import Ratio
from confpress.runtime.model_file import load_model, save_model
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.speech.frontend import FILE_NAME as FRONTEND_NAME


@pytest.fixture
def recipe(fast_recipe: Path) -> Recipe:
    changes = {"bench": {"enabled": False}, "lower": {"targets": ["cpu"]}}
    return load_recipe(fast_recipe).replace(changes)


def gain(median: float, *, different: bool) -> Ratio:
    return Ratio(
        median=median, low=median, high=median, quartiles=(median, median), different=different
    )


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def test_only_what_is_slower_beyond_the_noise_is_left_out(
    tiny_ctc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_ctc)

    def lower(without: tuple[str, ...]) -> PassResult:
        done = [name for name in ("attention", "convolution", "norms") if name not in without]
        return PassResult(model, True, tuple(Change(name, "fused") for name in done))

    gains = [gain(0.8, different=True), gain(0.9, different=False), gain(0.99, different=True)]
    results = iter(
        SimpleNamespace(cases=[SimpleNamespace(timings=[None, SimpleNamespace(speedup=each)])])
        for each in gains
    )
    monkeypatch.setattr(fusion_choice, "bench", lambda models, options: next(results))
    slower, said = choose_fusions("cpu", lower, AsrModel.load(tiny_ctc), BenchSection())
    assert slower == ("attention",)
    assert [refusal.where for refusal in said.refusals] == ["attention"]
    assert "left out: the model is 0.80 times as fast with it" in said.refusals[0].reason
    # The passes that fused nothing were not timed.
    assert [change.where for change in said.changes] == ["convolution", "norms"]


def test_a_run_measures_decides_and_is_repeated_by_its_decisions(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = demo_folder() / "model.onnx"
    measured = recipe.replace({"lower": {"measure": True}})
    monkeypatch.setattr(fusion_choice, "_loses", lambda gain: True)
    first = optimize(model, measured, output=tmp_path / "first")
    decided = json.loads((first.folder / DECISIONS).read_text())["findings"]["slower"]
    assert "attention" in decided["cpu"]
    assert not operators(first.model("cpu")) & {"RelPosAttention", "ConvModuleSiLU", "AddNorm"}
    (stage,) = (each for each in first.report.stages if each.name == "measure.cpu")
    assert {refusal.where for refusal in stage.refusals} == set(decided["cpu"])

    again = optimize(model, measured, output=tmp_path / "again", decisions=first.folder / DECISIONS)
    assert again.model("cpu").read_bytes() == first.model("cpu").read_bytes()
    (stage,) = (each for each in again.report.stages if each.name == "measure.cpu")
    assert stage.status == "skipped"


def test_what_is_timed_is_what_the_model_takes(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model for one batch, of which positions are kept for less than the recipe measures."""
    model = load_model(demo_folder() / "model.onnx")
    StaticSizes({"batch": 2})(model)
    for name in (FRONTEND_NAME, "tokens.txt"):
        shutil.copy(demo_folder() / name, tmp_path)
    save_model(model, tmp_path / "model.onnx")
    seen = []

    def timed(models: object, options: BenchOptions) -> SimpleNamespace:
        seen.append((options.seconds, options.batches))
        same = SimpleNamespace(speedup=gain(1.0, different=False))
        return SimpleNamespace(cases=[SimpleNamespace(timings=[None, same])])

    monkeypatch.setattr(fusion_choice, "bench", timed)
    trimmed = {"mode": "trim", "max_seconds": 1.5}
    wanted = {"lower": {"measure": True}, "bench": {"seconds": [3.0]}, "positions": trimmed}
    optimize(tmp_path / "model.onnx", recipe.replace(wanted), output=tmp_path / "out")
    assert set(seen) == {((1.5,), (2,))}


def test_fusions_can_be_left_out_by_name(recipe: Recipe, tmp_path: Path) -> None:
    wanted = recipe.replace({"lower": {"without": ["norms"]}})
    result = optimize(demo_folder() / "model.onnx", wanted, output=tmp_path / "out")
    found = operators(result.model("cpu"))
    assert "RelPosAttention" in found
    assert not {name for name in found if name.startswith("AddNorm")}


def test_attention_multiplies_in_bfloat16_where_asked_for(recipe: Recipe, tmp_path: Path) -> None:
    wanted = recipe.replace({"lower": {"targets": ["portable", "cpu"], "attention": "bfloat16"}})
    result = optimize(demo_folder() / "model.onnx", wanted, output=tmp_path / "out")
    assert "RelPosAttentionBFloat16" in operators(result.model("cpu"))
    assert "RelPosAttention" not in operators(result.model("cpu"))
    assert not any("BFloat16" in name for name in operators(result.model("portable")))

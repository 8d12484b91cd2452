"""Target ``cuda`` in a whole run, on machines without a GPU."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest
from confpress import optimize
from confpress.optimizer import evidence, words
from confpress.optimizer.package.source import open_source
from confpress.optimizer.recipe.recipe import Recipe, load_recipe
from confpress.optimizer.report.comparison import compare_reports
from confpress.optimizer.result.manifest import verify
from confpress.optimizer.stages import preparation
from confpress.passes.base import run
from confpress.passes.errors import ConfpressError
from confpress.passes.format_plan import FormatPlan, LayerFormat
from confpress.passes.linear import matmul_layers
from confpress.runtime import session
from confpress.runtime.benchmark import bench
from confpress.runtime.model_file import load_model, sha256

from ..conftest import Confpress

NO_GPU = "no such device"
NO_BENCH = {"bench": {"enabled": False}}


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is a GPU, none is seen."""
    monkeypatch.setattr(words, "why_no_gpu", lambda: NO_GPU)


@pytest.fixture
def recipe(fast_recipe: Path) -> Recipe:
    return load_recipe(fast_recipe)


def with_plan(model: Path, recipe: Recipe, form: LayerFormat) -> Recipe:
    """The recipe with a plan that gives the same format to all linear layers."""
    loaded = run(preparation(recipe), load_model(model)).model
    layers = {layer.id: form for layer in matmul_layers(loaded.graph)}
    FormatPlan(layers=layers).save(model.parent / "plan.json")
    formats = {"choice": "plan", "plan": str(model.parent / "plan.json")}
    return recipe.replace({"formats": formats, **NO_BENCH})


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def test_it_is_made_only_where_it_is_asked_for() -> None:
    assert "cuda" not in Recipe().lower.targets


def test_it_is_judged_on_the_cpu_and_says_so(
    tiny_ctc: Path,
    speech_folder: Path,
    other_speech: Path,
    fast_recipe: Path,
    tmp_path: Path,
    confpress: Confpress,
) -> None:
    out = tmp_path / "out"
    done = confpress(
        *("optimize", tiny_ctc, "-o", out, "--recipe", fast_recipe),
        *("--target", "cuda,portable", "--calibration", speech_folder),
        *("--validation", other_speech, "--json", tmp_path / "report.json"),
    )
    assert done.status == 0, done.err
    sentence = (
        "Figures of cuda are of ONNX Runtime's CPU provider, and its speed was not measured, as "
        f"no GPU can be used here: {NO_GPU}"
    )
    assert done.out.count(sentence) == 1
    assert sentence.replace("'", "&#39;") in (out / "report.html").read_text(encoding="utf-8")
    report = json.loads((tmp_path / "report.json").read_text())
    rows = {row["name"]: row for row in report["summary"]}
    assert list(rows) == ["original", "cuda", "portable"]
    assert rows["cuda"]["note"] == sentence
    assert rows["cuda"]["p50_ms"] is None
    assert (
        rows["cuda"]["wer"] == report["validation"]["cuda"]["speech"]["words"]["candidate"]["rate"]
    )
    assert rows["portable"]["p50_ms"] is not None
    assert rows["portable"]["note"] is None
    assert report["benchmark_cuda"] is report["placement"] is None
    assert [Path(m["model"]).parent.name for m in report["benchmark"]["models"][1:]] == ["portable"]
    assert set(report["audit"]) == set(report["profile"]) - {"original"} == {"portable"}
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert stages["bench.cuda"]["reason"] == NO_GPU
    verify(out)
    # Float16 before int8: only the others are lowered from the interchange model.
    types = {
        tensor.data_type for tensor in onnx.load(out / "cuda" / "model.onnx").graph.initializer
    }
    assert onnx.TensorProto.FLOAT16 in types
    assert onnx.TensorProto.INT8 not in types
    assert "DequantizeLinear" in operators(out / "interchange.onnx")


def test_alone_it_needs_no_int8_and_no_processor(
    tiny_ctc: Path, recipe: Recipe, tmp_path: Path
) -> None:
    report = optimize(tiny_ctc, recipe, output=tmp_path / "out", target="cuda").report
    stages = {stage.name: stage for stage in report.stages}
    for name in ("smooth", "calibrate", "quantize"):
        assert stages[name].reason == "target cuda, the only one, multiplies in float16"
    assert stages["bench"].status == "skipped"
    assert report.benchmark is None
    assert "DequantizeLinear" not in operators(tmp_path / "out" / "interchange.onnx")


def test_parts_that_stay_float32_are_a_decision(
    tiny_ctc: Path, recipe: Recipe, tmp_path: Path
) -> None:
    # Float16 has 11 bits: no model of more than one operator has 100 dB.
    exact = recipe.replace({"cuda": {"least_db": 100}, **NO_BENCH})
    first = optimize(tiny_ctc, exact, output=tmp_path / "first", target="cuda")
    decided = json.loads((tmp_path / "first" / "decisions.json").read_text())
    kept = decided["findings"]["float32_parts"]
    (found,) = (stage for stage in first.report.stages if stage.name == "float32.cuda")
    assert kept == [refusal.where for refusal in found.refusals] != []
    again = optimize(
        tiny_ctc,
        recipe.replace(NO_BENCH),
        output=tmp_path / "again",
        target="cuda",
        decisions=tmp_path / "first" / "decisions.json",
    )
    assert sha256(again.model("cuda")) == sha256(first.model("cuda"))


def test_low_bit_weights_of_a_plan_become_operators(
    tiny_ctc: Path, speech_folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    planned = with_plan(tiny_ctc, recipe, LayerFormat(weight="int4", activations="int8"))
    result = optimize(
        tiny_ctc, planned, output=tmp_path / "out", target="cuda", calibration=speech_folder
    )
    assert "MatMulNBits" in operators(result.model("cuda"))
    (lower,) = (stage for stage in result.report.stages if stage.name == "lower.cuda")
    assert any("activations are not quantised" in change.what for change in lower.changes)


def test_what_only_a_gpu_runs_is_refused_without_one(
    tiny_ctc: Path, speech_folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    planned = with_plan(tiny_ctc, recipe, LayerFormat(weight="fp8"))
    with pytest.raises(ConfpressError, match=r"target cuda does not run here .*Fp8Weight"):
        optimize(
            tiny_ctc, planned, output=tmp_path / "out", target="cuda", calibration=speech_folder
        )
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_goes_on(
    tiny_ctc: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = ("portable", "cuda")
    quick = recipe.replace(NO_BENCH)
    whole = optimize(tiny_ctc, quick, output=tmp_path / "whole", target=targets)
    with monkeypatch.context() as broken:
        broken.setattr(evidence, "audit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            optimize(tiny_ctc, quick, output=tmp_path / "out", target=targets)
    result = optimize(tiny_ctc, quick, output=tmp_path / "out", target=targets)
    resumed = {stage.name for stage in result.report.stages if stage.resumed}
    assert resumed >= {"float32.cuda", "lower.cuda", "quantize", "lower.portable"}
    for name in targets:
        assert sha256(result.model(name)) == sha256(whole.model(name))


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_it_is_compared_but_not_packed(tiny_ctc: Path, recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "a"
    optimize(tiny_ctc, recipe.replace(NO_BENCH), output=out, target="cuda")
    again = shutil.copytree(out, tmp_path / "b")
    rows = {row.summary.name: row for row in compare_reports([out, again]).rows}
    assert not rows["a: cuda"].unbeaten
    assert rows["b: cuda"].summary.note is not None
    with pytest.raises(ConfpressError, match=r"no model for cpu or portable, only for cuda; "):
        open_source(out, None)


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_with_a_gpu_both_models_are_timed_there(
    tiny_ctc: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of the figures alone: the CPU provider stands in for the GPU's."""
    monkeypatch.setattr(words, "why_no_gpu", lambda: None)
    monkeypatch.setitem(session.PROVIDERS, "cuda", "CPUExecutionProvider")

    def call(made: Any, feeds: Mapping[str, Any]) -> Any:
        return lambda: session.run_session(made, feeds)

    monkeypatch.setattr(bench, "bound_call", call)
    report = optimize(tiny_ctc, recipe, output=tmp_path / "out", target=("cuda", "portable")).report
    rows = {row.name: row for row in report.summary}
    assert report.benchmark is not None
    assert report.benchmark_cuda is not None
    assert report.placement is not None
    assert (report.benchmark.provider, report.benchmark_cuda.provider) == ("cpu", "cuda")
    first, timing = report.benchmark_cuda.cases[0].timings
    assert timing.speedup is not None
    assert first.model == report.models[0].path
    assert rows["cuda"].faster == timing.speedup.median
    assert rows["cuda"].p50_ms == timing.p50_ms
    assert {name: row.provider for name, row in rows.items()} == {
        "original": "cpu", "cuda": "cuda", "portable": "cpu",
    }  # fmt: skip
    assert rows["original"].p50_ms == report.benchmark.cases[0].timings[0].p50_ms
    assert report.validation["cuda"].provider == "cuda"
    assert "Benchmark on the GPU" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")

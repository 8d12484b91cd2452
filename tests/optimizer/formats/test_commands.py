"""Formats from the command line: chosen, written as a plan, edited, given back."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest
from confpress.passes.format_plan import FormatPlan, LayerFormat

from ..conftest import Confpress


def types_of(path: Path) -> set[str]:
    """Types of the codes that are dequantised."""
    graph = ir.load(path).graph
    constants = [n.inputs[0] for n in graph if n.op_type == "DequantizeLinear"]
    return {str(v.dtype) for v in constants if v is not None and v.is_initializer()}


def test_formats_are_chosen_and_given_back(
    confpress: Confpress, tiny_ctc: Path, speech_folder: Path, tmp_path: Path
) -> None:
    chosen, plan, again = (tmp_path / name for name in ("a.onnx", "plan.json", "b.onnx"))
    done = confpress(
        *("quantize", tiny_ctc, "-o", chosen, "--calibration", speech_folder),
        *("--formats", "mofq4", "--save-plan", plan, "--convolution", "float32"),
    )
    assert done.status == 0, done.err
    found = FormatPlan.load(plan)
    assert found.layers
    assert {form.weight for form in found.layers.values()} <= {"int4", "fp4"}
    assert {form.activations for form in found.layers.values()} == {"int8"}
    assert types_of(chosen) <= {"INT4", "FLOAT4E2M1"} and types_of(chosen)
    edited = dict.fromkeys(found.layers, LayerFormat(weight="int8"))
    FormatPlan(layers=edited).save(plan)
    done = confpress("quantize", tiny_ctc, "-o", again, "--format-plan", plan)
    assert done.status == 0, done.err
    assert types_of(again) == {"INT8"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--formats", "mofq4"], "need --calibration"),
        (["--repair", "gptq"], "need --calibration"),
        (["--formats", "mixed", "--calibration", "speech"], "goes together with --max-size"),
        (["--repair", "gptq", "--calibration", "speech"], "goes with --formats"),
        (["--save-plan", "plan.json"], "go with --formats"),
        (["--formats", "mofq4", "--format-plan", "plan.json"], "give one"),
        (["--format-plan", "missing.json"], "missing.json cannot be read"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    confpress: Confpress, tiny_ctc: Path, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    done = confpress("quantize", tiny_ctc, "-o", tmp_path / "out.onnx", *arguments)
    assert done.status == 1
    assert reason in " ".join(done.err.split())
    assert not (tmp_path / "out.onnx").exists()


def test_a_size_is_kept_by_the_file_that_comes_out(
    confpress: Confpress, tiny_ctc: Path, speech_folder: Path, tmp_path: Path
) -> None:
    chosen, lowered = tmp_path / "a.onnx", tmp_path / "b.onnx"
    floats, plan = tmp_path / "floats.onnx", tmp_path / "plan.json"
    common = ("--calibration", speech_folder, "--convolution", "float32")
    ok = confpress("quantize", tiny_ctc, "-o", floats, "--linear", "float32", *common)
    assert ok.status == 0, ok.err
    size = floats.stat().st_size - 2500
    done = confpress(
        *("quantize", tiny_ctc, "-o", chosen, *common, "--formats", "mixed", "--float-frames"),
        *("--max-size", f"{size / 1e6}", "--repair", "both", "--save-plan", plan),
    )
    assert done.status == 0, done.err
    assert "change the scores by" in done.err
    assert confpress("lower", chosen, "-o", lowered, "--target", "portable").status == 0
    assert lowered.stat().st_size <= size
    assert {form.weight for form in FormatPlan.load(plan).layers.values()} != {"float32"}
    refused = confpress(
        *("quantize", tiny_ctc, "-o", tmp_path / "c.onnx", *common),
        *("--formats", "mixed", "--max-size", "0.001"),
    )
    assert refused.status == 1
    assert "no choice of formats stays within" in refused.err

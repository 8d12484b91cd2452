"""Repairs lower the errors of layers on what calibration saw, and write what they found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from confpress.optimizer.formats.repair import Repair, repair
from confpress.passes.base import run
from confpress.passes.format_choice import eligible_layers
from confpress.passes.format_plan import FormatPlan, LayerFormat
from confpress.passes.formats import quantize_matrix
from confpress.passes.lower.reference import LowerReference
from confpress.passes.quantize import Quantize
from confpress.passes.quantize_linear import Repaired
from confpress.passes.rewrites.simplify import Simplify
from confpress.passes.structure import Recognise
from confpress.runtime.calibration.calibrate import Observed, calibrate
from confpress.runtime.inputs import SpeechSource
from confpress.runtime.interface import FloatArray
from confpress.runtime.model_file import load_model
from confpress.runtime.runner import Runner
from confpress.runtime.speech import FrontEnd

from tests.passes.graphs import evaluate, parse, two_layers

INT4 = LayerFormat(weight="int4", block=32, method="mse")


@pytest.fixture
def model(tiny_ctc: Path) -> ir.Model:
    loaded = load_model(tiny_ctc)
    run([Simplify(), Recognise()], loaded)
    return loaded


@pytest.fixture
def features() -> list[FloatArray]:
    source = SpeechSource(FrontEnd())
    return source.batch(120, 3, ragged=True)


def plan_of(model: ir.Model) -> FormatPlan:
    return FormatPlan(layers={layer.id: INT4 for layer in eligible_layers(model)})


def output_of(model: ir.Model, name: str, features: list[FloatArray]) -> np.ndarray:
    seen = calibrate(model, features, [Observed(name, -1, rows=10_000)])
    return seen[name].sample


@pytest.mark.parametrize("how", ["gptq", "bias", "both"])
def test_the_layer_errs_less(model: ir.Model, features: list[FloatArray], how: Repair) -> None:
    plan = plan_of(model)
    (layer,) = eligible_layers(model)
    name = str(layer.output.name)
    exact = output_of(model, name, features)
    errors = []
    mended_layers = repair(model, features, plan, how)
    plain_layers = {
        name: Repaired(each.matrix) for name, each in mended_layers.items() if how == "bias"
    }
    for repaired in (plain_layers, mended_layers):
        copy = model.clone()
        Quantize(convolution="float32", plan=plan, repaired=repaired)(copy)
        LowerReference()(copy)
        errors.append(output_of(copy, name, features) - exact)
    plain, mended = (float(np.square(each, dtype=np.float64).sum()) for each in errors)
    assert mended < plain
    if how != "gptq":
        # The mean of the output is that of the original, up to float32.
        assert np.abs(errors[1].mean(axis=0)).max() < 1e-2 * np.abs(errors[0].mean(axis=0)).max()


def test_little_memory_takes_more_runs_and_gives_the_same(
    nemo_small_inputs: tuple[ir.Model, list[FloatArray]],
) -> None:
    model, features = nemo_small_inputs
    plan = plan_of(model)
    at_once = repair(model, features, plan, "gptq")
    apart = repair(model, features, plan, "gptq", most_bytes=1)
    assert len(at_once) > 1
    assert list(at_once) == list(apart)
    for name, repaired in at_once.items():
        left, right = repaired.matrix, apart[name].matrix
        np.testing.assert_array_equal(left.codes, right.codes)


@pytest.fixture
def nemo_small_inputs(features: list[FloatArray]) -> tuple[ir.Model, list[FloatArray]]:
    return two_layers(), features


def test_a_layer_without_bias_is_given_one() -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((64, 32)).astype(np.float32)
    model = parse(
        """<ir_version: 8, opset_import: ["": 17]>
        g (float[T, 64] x, float[] w) => (float[T, 32] y) { y = MatMul (x, w) }""",
        w=weight,
    )
    next(iter(model.graph)).name = "layer"
    bias = np.arange(32, dtype=np.float32)
    x = random.standard_normal((5, 64)).astype(np.float32)
    before = model.clone()
    form = LayerFormat(weight="int8")
    plan = FormatPlan(layers={"layer": form})
    repaired = Repaired(quantize_matrix(weight, form.scheme), bias)
    Quantize(convolution="float32", plan=plan)(before)
    Quantize(convolution="float32", plan=plan, repaired={"layer": repaired})(model)
    assert [v.name for v in model.graph.outputs] == ["y"]
    expected = evaluate(before, {"x": x})[0] + bias
    np.testing.assert_allclose(evaluate(model, {"x": x})[0], expected, rtol=1e-6, atol=1e-5)


def test_the_repaired_model_still_runs(model: ir.Model, features: list[FloatArray]) -> None:
    plan = plan_of(model)
    found = repair(model, features, plan, "both")
    result = Quantize(convolution="float32", plan=plan, repaired=found)(model)
    assert any("repaired" in change.what for change in result.changes)
    LowerReference()(model)
    assert np.isfinite(Runner.start(model).scores(features[:1])[0]).all()

"""Sums before norms are named so that ONNX Runtime's fusion does not find them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
from confpress.passes.base import run
from confpress.passes.rewrites.layers.norm_sums import NormSums
from confpress.runtime.profile.optimised import optimised_graph

from ...graphs import evaluate, operators, parse

MODEL = """<ir_version: 10, opset_import: ["": 18]>
g (float[b, t, 8] x, float[b, t, 8] z) => (float[b, t, 8] y, float[b, t, 8] other)
<float[8] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[8] c = {1, 1, 1, 1, 2, 2, 2, 2}> {
    a = Add (x, z)
    y = LayerNormalization <axis = -1> (a, w, c)
    twice = Add (x, y)
    normed = LayerNormalization <axis = -1> (twice, w, c)
    other = Mul (twice, normed)
}"""


def runs_as(model: ir.Model, path: Path) -> list[str]:
    ir.save(model, path)
    return operators(optimised_graph(path))


def test_only_sums_that_a_norm_reads_alone_are_renamed(tmp_path: Path) -> None:
    model = parse(MODEL)
    generator = np.random.default_rng(0)
    feeds = {name: generator.standard_normal((2, 5, 8)).astype(np.float32) for name in "xz"}
    expected = evaluate(model, feeds)
    assert "SkipLayerNormalization" in runs_as(model, tmp_path / "before.onnx")

    assert len(run([NormSums()], model).changes) == 1
    assert operators(model) == ["Sum", "LayerNormalization", "Add", "LayerNormalization", "Mul"]
    assert "SkipLayerNormalization" not in runs_as(model, tmp_path / "after.onnx")
    for got, wanted in zip(evaluate(model, feeds), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)

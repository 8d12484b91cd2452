"""Simplify: constants, equal weights and idle nodes go; formats of weights stay."""

from __future__ import annotations

import numpy as np
from confpress.passes.simplify import Simplify
from confpress.passes.versions import WORKING_OPSET

from tests.passes.graphs import difference, evaluate, operators, parse

RANDOM = np.random.default_rng(0)


def test_constant_expressions_become_one_weight() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[b, 4] x, float[3, 4] w) => (float[b, 3] y)
    {
      two = Constant <value = float {2.0}> ()
      scaled = Mul (w, two)
      turned = Transpose <perm = [1, 0]> (scaled)
      same = Identity (x)
      y = MatMul (same, turned)
    }"""
    weight = RANDOM.standard_normal((3, 4)).astype(np.float32)
    model, original = parse(text, w=weight), parse(text, w=weight)
    result = Simplify()(model)
    assert result.modified
    assert operators(model) == ["MatMul"]
    assert model.opset_imports[""] == WORKING_OPSET
    feeds = {"x": RANDOM.standard_normal((2, 4)).astype(np.float32)}
    assert difference(model, original, feeds) == 0


def test_equal_initializers_and_equal_nodes_are_shared() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[b, 4] x, float[4, 3] v, float[4, 3] w) => (float[b, 3] y)
    { p = MatMul (x, v) q = MatMul (x, w) y = Add (p, q) }"""
    weight = RANDOM.standard_normal((4, 3)).astype(np.float32)
    model = parse(text, v=weight, w=weight.copy())
    Simplify()(model)
    assert operators(model) == ["MatMul", "Add"]
    assert len(model.graph.initializers) == 1


def test_dequantisation_of_a_weight_is_its_format_and_stays() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 4] x, int8[4, 3] w, float s) => (float[b, 3] y)
    { d = DequantizeLinear (w, s) y = MatMul (x, d) }"""
    codes = RANDOM.integers(-127, 127, (4, 3)).astype(np.int8)
    model = parse(text, w=codes, s=np.array(0.5, np.float32))
    Simplify()(model)
    assert operators(model) == ["DequantizeLinear", "MatMul"]


def test_functions_of_the_exporter_are_inlined() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 21, "pkg": 1]>
    net (float[b] x) => (float[b] y) { y = pkg.twice (x) }
    <domain: "pkg", opset_import: ["": 21]>
    twice (x) => (y) { y = Add (x, x) }"""
    model = parse(text)
    Simplify()(model)
    assert operators(model) == ["Add"]
    (out,) = evaluate(model, {"x": np.ones(3, np.float32)})
    assert out.tolist() == [2, 2, 2]


def test_a_second_run_finds_nothing() -> None:
    model = parse(
        """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[b, 4] x, float[4, 4] w) => (float[b, 4] y)
    { s = Shape (x) r = Reshape (x, s) y = MatMul (r, w) }""",
        w=np.eye(4, dtype=np.float32),
    )
    Simplify()(model)
    assert not Simplify()(model).modified

"""Simplify: constants, equal weights and idle nodes go; formats of weights stay."""

from __future__ import annotations

import numpy as np
import pytest
from confpress.passes.rewrites.simplify import Simplify
from confpress.passes.rewrites.versions import WORKING_OPSET

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


@pytest.mark.parametrize(
    ("table", "weight", "left"),
    [((1, 9, 4), (4, 4), ["MatMul", "Add"]), ((4, 2), (2, 4), ["Add"]), ((3, 4), (4, 4), ["Add"])],
    ids=["positions", "narrow matrices", "few rows"],
)
def test_a_projection_larger_than_its_weight_stays(
    table: tuple[int, ...], weight: tuple[int, int], left: list[str]
) -> None:
    text = f"""
    <ir_version: 8, opset_import: ["": 17]>
    net (float[b, n, 4] x, float{[*table]} p, float{[*weight]} w) => (float[b, n, 4] y)
    {{ q = MatMul (p, w)  y = Add (x, q) }}"""
    arrays = {
        n: RANDOM.standard_normal(s, np.float32) for n, s in {"p": table, "w": weight}.items()
    }
    model = parse(text, **arrays)
    Simplify()(model)
    assert operators(model) == left


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


def test_padding_that_exporters_compute_joins_its_convolution() -> None:
    # TorchScript writes torch's reversed pairs: zeros for the other axes, turned round.
    model = parse(
        """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[b, 4, t] x, float[4, 1, 3] w) => (float[b, 4, u] y)
    <int64[1] four = {4}, int64[2] pads = {2, 0}, int64[2] pairs = {-1, 2},
     int64[1] flat = {-1}, int64[1] last = {-1}, int64[1] lowest = {-9223372036854775807},
     int64[1] zero = {0}, float nothing = {0.0}> {
      others = ConstantOfShape <value = int64[1] {0}> (four)
      all = Concat <axis = 0> (pads, others)
      paired = Reshape (all, pairs)
      reversed = Slice (paired, last, lowest, zero, last)
      turned = Transpose <perm = [1, 0]> (reversed)
      begins = Reshape (turned, flat)
      padded = Pad (x, begins, nothing)
      y = Conv <group = 4> (padded, w)
    }""",
        w=np.arange(12, dtype=np.float32).reshape(4, 1, 3),
    )
    original = model.clone()
    Simplify()(model)
    (convolution,) = model.graph
    assert tuple(convolution.attributes.get_ints("pads")) == (2, 0)
    x = np.random.default_rng(0).standard_normal((2, 4, 7)).astype(np.float32)
    assert difference(original, model, {"x": x}) < 1e-5


def test_a_large_constant_of_shape_stays_one_node() -> None:
    model = parse(
        """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[b, 4096] x) => (float[b, 4096] y)
    <int64[1] size = {4096}> { zeros = ConstantOfShape (size)  y = Add (x, zeros) }"""
    )
    Simplify()(model)
    assert "ConstantOfShape" in operators(model)

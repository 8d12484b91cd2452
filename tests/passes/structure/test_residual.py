"""Residual joins: both operand orders, factors, and what is none."""

from __future__ import annotations

import pytest
from confpress.passes.structure.flow import Flow
from confpress.passes.structure.linear import find_products
from confpress.passes.structure.residual import Join, find_joins

from .graphs import D, make

WEIGHTS = {
    "w": (D, D), "half": 0.5, "two": 2.0, "one": 1.0, "cube": 3.0, "table": (1, 1, D),
    "filters": (D, D, 1), "paired": [0, -1, 2, D], "axis2": [2],
}  # fmt: skip


def joins(body: str) -> list[Join]:
    graph = make(body, WEIGHTS, infer=False).graph
    return find_joins(Flow(graph, graph.inputs[0]), find_products(graph))


@pytest.mark.parametrize(
    ("body", "scale", "stream_scale"),
    [
        ("f = MatMul (x, w)  y = Add (x, f)", 1, 1),
        ("f = MatMul (x, w)  y = Add (f, x)", 1, 1),
        ("f = MatMul (x, w)  h = Mul (f, half)  y = Add (x, h)", 0.5, 1),
        ("f = MatMul (x, w)  h = Mul (half, f)  y = Add (h, x)", 0.5, 1),
        ("f = MatMul (x, w)  h = Div (f, two)  y = Add (x, h)", 0.5, 1),
        ("f = MatMul (x, w)  s = Mul (x, two)  h = Mul (f, half)  y = Add (s, h)", 0.5, 2),
        ("n = Relu (x)  f = MatMul (n, w)  c = Cast <to = 1> (x)  y = Add (c, f)", 1, 1),
    ],
)
def test_spellings(body: str, scale: float, stream_scale: float) -> None:
    (join,) = joins(body)
    assert join.stream.name == "x"
    assert join.output.name == "y"
    assert join.scale == pytest.approx(scale)
    assert join.stream_scale == pytest.approx(stream_scale)
    assert join.nodes[-1] is join.add


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("a bias", "f = MatMul (x, w)  y = Add (f, table)"),
        ("tanh-GELU's cube", "c = Pow (x, cube)  m = Mul (c, half)  a = Add (x, m)  t = Tanh (a)"
         "  p = Add (t, one)  y = Mul (x, p)"),
        ("two branches without the stream", "a = MatMul (x, w)  b = Relu (x)  n = Neg (a)"
         "  y = Add (n, b)"),
        ("a Mul", "f = MatMul (x, w)  y = Mul (x, f)"),
        ("a shortcut that is not only scaled", "f = MatMul (x, w)  s = Tanh (x)  y = Add (s, f)"),
    ],
)  # fmt: skip
def test_what_is_none(what: str, body: str) -> None:
    assert joins(body) == [], what


def test_a_branch_that_changes_the_frame_rate_beside_a_pooled_shortcut() -> None:
    body = """
      n = Relu (x)
      t = Transpose <perm = [0, 2, 1]> (n)
      c = Conv <strides = [2], kernel_shape = [1]> (t, filters)
      f = Transpose <perm = [0, 2, 1]> (c)
      pairs = Reshape (x, paired)
      pooled = ReduceMean <keepdims = 0> (pairs, axis2)
      y = Add (f, pooled)
    """
    (join,) = joins(body)
    assert join.source.name == "x"
    assert join.stream.name == "pooled"
    assert join.branch.name == "f"
    assert [n.op_type for n in join.nodes] == ["Relu", "Transpose", "Conv", "Transpose", "Add"]


def test_joins_inside_joins_are_found_too() -> None:
    body = """
      a = MatMul (x, w)  s = Add (x, a)
      b = MatMul (s, w)  t = Add (b, s)
      c = MatMul (t, w)  y = Add (x, c)
    """
    inner, second, outer = joins(body)
    assert (inner.stream.name, inner.output.name) == ("x", "s")
    assert (second.stream.name, second.output.name) == ("s", "t")
    assert (outer.stream.name, outer.output.name) == ("x", "y")
    assert inner.add in outer.nodes

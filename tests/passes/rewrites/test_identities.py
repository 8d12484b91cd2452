"""Nodes that change nothing: gone inside, kept where they name an output."""

from __future__ import annotations

import numpy as np
from confpress.passes.rewrites.identities import RemoveIdentities

from tests.passes.graphs import difference, operators, parse

FEEDS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


def test_inside_and_before_an_output_they_go() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[2, 3] x) => (float[2, 3] y)
    { a = Identity (x) b = Relu (a) c = Identity (b) y = Identity (c) }"""
    model = parse(text)
    assert RemoveIdentities()(model).modified
    assert operators(model) == ["Relu"]
    assert [v.name for v in model.graph.outputs] == ["y"]
    assert difference(model, parse(text), FEEDS) == 0


def test_pads_by_nothing_go() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[2, 3] x) => (float[2, s] y)
    {
      none = Constant <value_ints = [0, 0, 0, 0]> ()
      one = Constant <value_ints = [0, 1, 0, 0]> ()
      a = Pad (x, none)
      b = Relu (a)
      c = Pad (b, one)
      y = Pad <mode = "edge"> (c, none)
    }"""
    model = parse(text)
    assert RemoveIdentities()(model).modified
    assert [name for name in operators(model) if name != "Constant"] == ["Relu", "Pad"]
    assert difference(model, parse(text), FEEDS) == 0


def test_two_equal_outputs_keep_their_names() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[2, 3] x) => (float[2, 3] y, float[2, 3] z, float[2, 3] w)
    { y = Relu (x) z = Identity (y) w = Identity (z) }"""
    model = parse(text)
    RemoveIdentities()(model)
    assert [v.name for v in model.graph.outputs] == ["y", "z", "w"]
    assert difference(model, parse(text), FEEDS) == 0


def test_an_input_stays_an_input() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[2, 3] x) => (float[2, 3] y) { y = Identity (x) }"""
    model = parse(text)
    assert not RemoveIdentities()(model).modified


def test_a_branch_does_not_return_what_lies_outside_it() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[2, 3] x, bool c) => (float[2, 3] y)
    {
      a = Relu (x)
      y = If (c) <
        then_branch = t () => (float[2, 3] p) { p = Identity (a) },
        else_branch = e () => (float[2, 3] q) { q = Neg (a) }
      >
    }"""
    model = parse(text)
    RemoveIdentities()(model)
    for choice in (True, False):
        assert difference(model, parse(text), {**FEEDS, "c": np.array(choice)}) == 0

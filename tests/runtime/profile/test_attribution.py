"""Nodes of an optimised graph find their modules by values, and by neighbours without them."""

from __future__ import annotations

from confpress.runtime.profile.attribution import attribute

from tests.passes.graphs import parse

OWNERS = {"a": "first", "b": "second", "y": "second"}


def owners(body: str) -> dict[str, str]:
    model = parse(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[2, 3] x) => (float[2, 3] y) {{ {body} }}'
    )
    for node in model.graph:
        node.name = node.outputs[0].name
    return attribute(model.graph, OWNERS)


def test_values_keep_their_names_through_fusion() -> None:
    found = owners("a = Relu (x) y = Neg (a)")
    assert found == {"a": "first", "y": "second"}


def test_a_node_put_in_belongs_to_what_it_feeds() -> None:
    found = owners("a = Relu (x) laid_out = Identity (a) turned = Abs (laid_out) y = Neg (turned)")
    assert found == {"a": "first", "laid_out": "second", "turned": "second", "y": "second"}


def test_a_node_that_feeds_nothing_belongs_to_what_it_reads() -> None:
    found = owners("a = Relu (x) y = Neg (a) aside = Abs (a)")
    assert found["aside"] == "first"


def test_a_node_among_strangers_is_left_out() -> None:
    found = owners("y = Relu (x) lone = Abs (x)")
    assert found == {"y": "second"}

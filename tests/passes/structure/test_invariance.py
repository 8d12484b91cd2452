"""What exporters do differently must not matter: operand order, node order, names."""

from __future__ import annotations

import random

import onnx_ir as ir
import pytest
from confpress.passes.structure import Structure, recognise
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from .graphs import (
    ATTENTION,
    ATTENTION_WEIGHTS,
    CONVOLUTION,
    CONVOLUTION_WEIGHTS,
    FEED_FORWARD,
    FEED_FORWARD_WEIGHTS,
    NORM,
    D,
    chain,
    make,
)

BLOCK = (FEED_FORWARD, ATTENTION, CONVOLUTION, FEED_FORWARD, NORM)
WEIGHTS = FEED_FORWARD_WEIGHTS | ATTENTION_WEIGHTS | CONVOLUTION_WEIGHTS
INPUTS = f"float[B,T,{D}] x, float[1,P,{D}] pos, bool[B,1,1,T] mask"


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return make(chain(*BLOCK, *BLOCK), WEIGHTS, inputs=INPUTS, infer=False)


def described(structure: Structure) -> list[object]:
    """Everything but the nodes themselves and the order of independent layers."""
    return [
        (
            module.id, module.kind, module.scale, module.norm is not None,
            len(module.nodes), sorted((layer.id, layer.weight.name) for layer in module.linears),
        )
        for module in structure.modules
    ]  # fmt: skip


def swap_operands(graph: ir.Graph, choice: random.Random) -> None:
    for node in graph:
        if node.op_type in ("Add", "Mul") and choice.random() < 0.5:
            left, right = node.inputs
            node.replace_input_with(0, right)
            node.replace_input_with(1, left)


def reorder(graph: ir.Graph, choice: random.Random) -> None:
    """Another order in which every node still follows what it reads."""
    waiting, done = list(graph), set[ir.Node]()
    graph.remove(waiting)
    while waiting:
        ready = [n for n in waiting if all(p in done for p in n.predecessors())]
        node = choice.choice(ready)
        graph.append(node)
        done.add(node)
        waiting.remove(node)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, 2**32))
def test_recognition_depends_on_the_graph_alone(model: ir.Model, seed: int) -> None:
    changed = model.clone()
    choice = random.Random(seed)
    swap_operands(changed.graph, choice)
    reorder(changed.graph, choice)
    for index, node in enumerate(changed.graph):
        node.name = f"n{index}"
    found = recognise(changed)
    assert found.near_misses == ()
    assert described(found) == described(recognise(model))

"""Identity nodes and Pads by nothing go, save those that give an output a name of its own.

onnx_ir's pass of the same purpose merges two outputs that are equal, and lets a branch or loop
body return a value from outside it; both make another model.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from ..base import InPlacePass, PassResult
from ..rewrite import constant, may_be_renamed


@dataclasses.dataclass(frozen=True)
class RemoveIdentities(InPlacePass):
    """Removes nodes that change nothing; a node before a graph's output hands its name on."""

    def call(self, model: ir.Model) -> PassResult:
        modified = False
        graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
        for graph in graphs:
            for node in list(ir.traversal.RecursiveGraphIterator(graph)):
                if _is_idle(node):
                    modified |= _remove(node)
        return PassResult(model, modified)


def _is_idle(node: ir.Node) -> bool:
    if node.domain:
        return False
    if node.op_type == "Pad" and len(node.inputs) > 1:  # before opset 11 amounts are attributes
        amounts = constant(node.inputs[1])
        return amounts is not None and not amounts.any()
    return node.op_type == "Identity"


def _remove(node: ir.Node) -> bool:
    source, result = node.inputs[0], node.outputs[0]
    if source is None or node.graph is None:
        return False
    named = result.is_graph_output()
    if named and not may_be_renamed(source, node):
        return False
    source.shape = source.shape if result.shape is None else _more_known(source, result)
    source.type = source.type or result.type
    ir.convenience.replace_all_uses_with(result, source, replace_graph_outputs=True)
    if named:
        source.name = result.name
    node.graph.remove(node, safe=True)
    return True


def _more_known(source: ir.Value, result: ir.Value) -> ir.Shape | None:
    """The shape of two equal values, from whichever knows a size."""
    first, second = source.shape, result.shape
    if first is None or second is None or len(first) != len(second):
        return first or second
    return ir.Shape([a if isinstance(a, int) else b for a, b in zip(first, second, strict=True)])

"""Nodes of ONNX Runtime's optimised graph, told which module of the model each one serves.

ONNX Runtime renames and fuses nodes, but what a fused node gives out keeps the name of a value of
the model. Nodes that it puts in (layout changes, conversions) belong to what they feed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir


def attribute(graph: ir.Graph, owners: Mapping[str, str]) -> dict[str, str]:
    """Finds the owner of every node.

    Args:
        graph: The optimised graph.
        owners: By name of a value of the model, what the node that makes it belongs to.

    Returns:
        By name of a node, its owner. Nodes are missing whose values, and whose neighbours', say
        nothing.
    """
    nodes = list(graph)
    found: dict[ir.Node, str] = {}
    for node in nodes:
        names = [value.name for value in node.outputs if value.name in owners]
        if names:
            found[node] = owners[str(names[0])]
    # What is put in stands in front of what it serves, so the order is that of the data reversed.
    for node in reversed(nodes):
        if node not in found:
            _take(found, node, (use.node for v in node.outputs for use in v.uses()))
    for node in nodes:
        if node not in found:
            _take(found, node, (v.producer() for v in node.inputs if v is not None))
    return {str(node.name): owner for node, owner in found.items()}


def _take(found: dict[ir.Node, str], node: ir.Node, beside: Iterable[ir.Node | None]) -> None:
    """Gives a node the owner of the first of its neighbours that has one."""
    owner = next((found[each] for each in beside if each in found), None)
    if owner is not None:
        found[node] = owner

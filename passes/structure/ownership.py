"""Which module a node serves.

A module's core is what the stream's data passes through. Everything else that serves it alone
(its projection of the position table, the shapes of its Reshapes, the scale of its quantiser) is
recognised by whom it feeds: a node whose results reach one module only belongs to it. What comes
out of one module and reaches nothing but outputs of the graph (a new cache) belongs to it too.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from .graph import all_inputs, consumers

#: What stands among the owners that a node feeds for outputs of the graph, and for nodes that lie
#: between modules.
_OUTPUT = "<output>"
_BETWEEN = "<between>"


def spread_ownership(
    graph: ir.Graph, cores: Mapping[ir.Node, str], unowned: frozenset[ir.Node] = frozenset()
) -> dict[ir.Node, str]:
    """The owner of every node that serves one module alone.

    Args:
        graph: The graph, its nodes in topological order.
        cores: The owner of the nodes in the modules' cores.
        unowned: Nodes that lie between modules and belong to none.

    Returns:
        The owners of those and of the nodes that serve them alone.
    """
    owners = dict(cores) | dict.fromkeys(unowned, _BETWEEN)
    feeds: dict[ir.Node, frozenset[str]] = {}
    for node in reversed(graph):
        fed: set[str] = set()
        for value in node.outputs:
            if value.is_graph_output():
                fed.add(_OUTPUT)
            for user in consumers(value):
                fed |= {owners[user]} if user in owners else feeds.get(user, frozenset())
        feeds[node] = frozenset(fed)
        if node not in owners and len(fed) == 1 and _OUTPUT not in fed:
            owners[node] = next(iter(fed))
    for node in graph:
        if node in owners or feeds[node] != {_OUTPUT}:
            continue
        producers = {v.producer() for v in all_inputs(node)} - {None}
        makers = {owners.get(p) for p in producers if p is not None}
        if len(makers) == 1 and (maker := makers.pop()) is not None:
            owners[node] = maker
    return {node: owner for node, owner in owners.items() if owner != _BETWEEN}

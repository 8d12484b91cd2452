"""Where the data of one input goes, and which values it cannot avoid.

A value *dominates* another if every way of the data from the input to the other passes through
it. A residual stream is exactly that: branch and shortcut of ``x + f(x)`` both begin at ``x``,
whatever ``f`` does, so ``x`` dominates the branch. Immediate dominators are found in one sweep
in topological order (Cooper, Harvey and Kennedy 2001, for a graph without cycles).
"""

from __future__ import annotations

import onnx_ir as ir

from .graph import METADATA_OPS, consumers, data_inputs


class Flow:
    """The values that the data of one graph input reaches.

    Attributes:
        source: The input.
        order: Position of every node in the graph.
    """

    def __init__(self, graph: ir.Graph, source: ir.Value) -> None:
        self.source = source
        self.order = {node: i for i, node in enumerate(graph)}
        self._parent: dict[ir.Value, ir.Value] = {}
        self._depth: dict[ir.Value, int] = {source: 0}
        for node in graph:
            reached = self.inputs(node)
            if not reached or node.op_type in METADATA_OPS:
                continue
            parent = reached[0]
            for other in reached[1:]:
                parent = self._common(parent, other)
            for output in node.outputs:
                self._parent[output] = parent
                self._depth[output] = self._depth[parent] + 1

    def _common(self, left: ir.Value, right: ir.Value) -> ir.Value:
        while left is not right:
            if self._depth[left] >= self._depth[right]:
                left = self._parent[left]
            else:
                right = self._parent[right]
        return left

    def __contains__(self, value: object) -> bool:
        """Whether data of the input reaches the value."""
        return value in self._depth

    def inputs(self, node: ir.Node) -> list[ir.Value]:
        """The data inputs of a node that the input's data reaches."""
        return [v for v in data_inputs(node) if v in self._depth]

    def dominates(self, above: ir.Value, below: ir.Value) -> bool:
        """Whether all data of the input that reaches ``below`` has passed through ``above``."""
        if above not in self._depth or below not in self._depth:
            return False
        while self._depth[below] > self._depth[above]:
            below = self._parent[below]
        return below is above

    def immediate_dominator(self, value: ir.Value) -> ir.Value | None:
        """The nearest other value that all data on its way to ``value`` passes through."""
        return self._parent.get(value)

    def between(self, above: ir.Value, *below: ir.Value) -> list[ir.Node]:
        """The nodes on the data's ways from ``above`` to the values below, in graph order.

        Data reaching ``below`` from elsewhere (another input, a table) is not followed. Empty
        if ``above`` is the only value below.
        """
        found: set[ir.Node] = set()
        pending = [v for v in below if v is not above]
        while pending:
            node = pending.pop().producer()
            if node is None or node in found:
                continue
            found.add(node)
            pending.extend(v for v in self.inputs(node) if v is not above)
        return self.sort(found)

    def after(self, value: ir.Value) -> list[ir.Node]:
        """All nodes that the value's data reaches, in graph order."""
        found: set[ir.Node] = set()
        pending = [value]
        while pending:
            current = pending.pop()
            for node in consumers(current):
                if node in found or current not in data_inputs(node) or node not in self.order:
                    continue
                found.add(node)
                pending.extend(node.outputs)
        return self.sort(found)

    def sort(self, nodes: set[ir.Node]) -> list[ir.Node]:
        """Nodes in graph order."""
        return sorted(nodes, key=self.order.__getitem__)

"""The residual stream: every Add that joins a value with a branch computed from it.

``y = a · x + s · f(x)`` with constant a and s, the operands in either order. What makes it a
residual join is dominance (see ``flow``): all data that reaches the branch has passed through x.
The branch must hold weights; without them it is arithmetic (a GELU, a rotation), not a module.
Where the branch changes the frame rate, the shortcut does too, without weights:
``y = pool(x) + f(x)``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Set

import onnx_ir as ir

from .flow import Flow
from .graph import LAYOUT_OPS, other_input, scalar
from .linear import Products

#: What may shorten the stream beside a branch that shortens it too.
_POOLS = frozenset(("AveragePool", "MaxPool", "ReduceMean"))
#: What may lie on the shortcut between the stream and the Add.
_KEEPS_STREAM = frozenset({
    "Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear",
})  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Join:
    """A residual join.

    Attributes:
        add: The Add.
        stream: The stream at the Add, before its constant factor.
        source: Where the branch begins: the stream itself, or what a pooling shortcut pools.
        branch: The operand that the branch computes, its constant factor included.
        nodes: The nodes between ``source`` and the Add on the branch, the factor of the stream
            and the Add itself, in graph order.
        scale: Constant factor of the branch.
        stream_scale: Constant factor of the stream.
    """

    add: ir.Node
    stream: ir.Value
    source: ir.Value
    branch: ir.Value
    nodes: tuple[ir.Node, ...]
    scale: float
    stream_scale: float

    @property
    def output(self) -> ir.Value:
        """The stream after the join."""
        return self.add.outputs[0]


def find_joins(flow: Flow, products: Products) -> list[Join]:
    """All residual joins of the source's data, in graph order, outer ones included."""
    weighted = products.linears.keys() | products.convolutions.keys()
    joins = []
    for node in flow.order:
        if node.op_type not in ("Add", "Sum") or len(flow.inputs(node)) != 2:
            continue
        left, right = flow.inputs(node)
        join = (
            _join(flow, node, left, right)
            or _join(flow, node, right, left)
            or _pooled(flow, node, left, right, weighted)
            or _pooled(flow, node, right, left, weighted)
        )
        if join is not None and not weighted.isdisjoint(join.nodes):
            joins.append(join)
    return joins


def _join(flow: Flow, add: ir.Node, shortcut: ir.Value, branch: ir.Value) -> Join | None:
    """The join if ``shortcut`` is the stream: the first value on it that dominates the branch."""
    factor = 1.0
    steps: list[ir.Node] = []
    while not flow.dominates(shortcut, branch):
        node = shortcut.producer()
        if node is None:
            return None
        step = _factor(node)
        if step is None:
            return None
        steps.append(node)
        factor *= step[1]
        shortcut = step[0]
    if shortcut is branch:
        return None
    nodes = flow.between(shortcut, branch)
    return Join(
        add=add,
        stream=shortcut,
        source=shortcut,
        branch=branch,
        nodes=tuple(flow.sort({*nodes, *steps, add})),
        scale=_branch_factor(branch),
        stream_scale=factor,
    )


def _pooled(
    flow: Flow, add: ir.Node, shortcut: ir.Value, branch: ir.Value, weighted: Set[ir.Node]
) -> Join | None:
    """The join if the shortcut goes from the branch's source to the Add by pooling and layout."""
    source = flow.immediate_dominator(add.outputs[0])
    if source is None:
        return None
    beside = flow.between(source, shortcut)
    if not all(n.op_type in _POOLS or n.op_type in LAYOUT_OPS for n in beside):
        return None
    nodes = set(flow.between(source, branch)) - set(beside)
    if weighted.isdisjoint(nodes):
        return None
    return Join(
        add=add,
        stream=shortcut,
        source=source,
        branch=branch,
        nodes=tuple(flow.sort({*nodes, add})),
        scale=_branch_factor(branch),
        stream_scale=1.0,
    )


def _factor(node: ir.Node) -> tuple[ir.Value, float] | None:
    """The operand and the constant factor of a node that only scales; None for other nodes."""
    value = node.inputs[0]
    if value is None:
        return None
    if node.op_type in _KEEPS_STREAM:
        return value, 1.0
    if node.op_type == "Div":
        divisor = scalar(node.inputs[1])
        return (value, 1 / divisor) if divisor else None
    if node.op_type == "Mul":
        for operand in node.inputs:
            factor = scalar(operand)
            rest = other_input(node, operand) if operand is not None else None
            if factor is not None and rest is not None:
                return rest, factor
    return None


def _branch_factor(value: ir.Value) -> float:
    """The product of the constant factors that end the branch."""
    factor = 1.0
    node = value.producer()
    while node is not None:
        step = _factor(node)
        if step is None:
            return factor
        value, each = step
        factor *= each
        node = value.producer()
    return factor

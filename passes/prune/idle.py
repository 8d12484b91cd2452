"""Nodes that do nothing: additions of zero, products with one, branches that are constant."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrite import add_initializer, replace_value
from .facts import Facts
from .known import fully_known
from .shapes import Shapes, broadcast

#: Operators whose operands are spread over each other: a smaller operand is as good.
_SPREADING = frozenset(("Add", "Sub", "Mul", "Div", "Where", "Max", "Min", "Sum", "Pow"))
#: Larger constants are not written in place of a computation.
_MOST_NUMBERS = 1 << 16


def drop_constant_branches(graph: ir.Graph, facts: Facts) -> list[ir.Node]:
    """Replaces computed operands that are constant by the constant; returns the nodes changed.

    The computation stays in the graph, for the removal of unused nodes to take.
    """
    changed = []
    for node in graph:
        if node.op_type not in _SPREADING or node.domain or facts.is_fixed(node.outputs[0]):
            continue
        if fully_known(facts.of(node.outputs[0])):
            continue
        for index, value in enumerate(node.inputs):
            if value is None or facts.is_fixed(value) or value.producer() is None:
                continue
            if _write_constant(graph, facts, node, index):
                changed.append(node)
    return changed


def _write_constant(graph: ir.Graph, facts: Facts, node: ir.Node, index: int) -> bool:
    value = node.inputs[index]
    fact = facts.of(value)
    if value is None or value.dtype is None or fact is None or not fully_known(fact):
        return False
    shapes, out = facts.shapes, facts.shapes.of(node.outputs[0])
    others = [shapes.of(each) for i, each in enumerate(node.inputs) if i != index]
    array = np.squeeze(fact, tuple(i for i in range(_leading_ones(fact.shape)))).astype(
        value.dtype.numpy()
    )
    constant_shape = tuple(shapes.of_numbers(array.shape))
    if array.size > _MOST_NUMBERS or out is None or broadcast([*others, constant_shape]) != out:
        return False
    node.replace_input_with(index, add_initializer(graph, f"{value.name}.known", array))
    return True


def _leading_ones(shape: tuple[int, ...]) -> int:
    count = 0
    while count < len(shape) and shape[count] == 1:
        count += 1
    return count


def drop_idle(graph: ir.Graph, shapes: Shapes) -> list[ir.Node]:
    """Takes away what hands its input on unchanged; returns the nodes taken away.

    Additions of zero, products with one, Reshapes and Expands to the shape that is there.
    """
    dropped = []
    for node in graph:
        kept = _passed_through(node)
        if kept is None or shapes.of(kept) is None or shapes.of(kept) != shapes.of(node.outputs[0]):
            continue
        if kept.dtype is None or kept.dtype != node.outputs[0].dtype:
            continue
        if node.outputs[0].is_graph_output() and (kept.is_graph_input() or kept.is_graph_output()):
            continue
        replace_value(node.outputs[0], kept)
        dropped.append(node)
    return dropped


def _passed_through(node: ir.Node) -> ir.Value | None:
    """The operand that the node hands on unchanged, if there is one."""
    if node.op_type in ("Reshape", "Expand", "Identity") and not node.domain:
        return node.inputs[0]
    if node.domain or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    neutral = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}.get(node.op_type)
    if neutral is None or left is None or right is None:
        return None
    if _is_all(right, neutral):
        return left
    if node.op_type in ("Add", "Mul") and _is_all(left, neutral):
        return right
    return None


def _is_all(value: ir.Value, number: float) -> bool:
    tensor = value.const_value
    if tensor is None or value.is_graph_input() or not tensor.dtype.is_floating_point():
        return False
    array = tensor.numpy()
    return bool(array.size) and bool((array == number).all())

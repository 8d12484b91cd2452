"""The scores of attention as nodes: products, what follows them, and where they are used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import onnx_ir as ir

#: Operators that move elements; on the way from a projection to a product.
LAYOUT: Final = frozenset(("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Expand"))


def score_products(
    softmax: ir.Node, position: ir.Value | None
) -> tuple[list[ir.Node], list[ir.Node]]:
    """The MatMuls that a Softmax's scores are made of.

    Args:
        softmax: The Softmax.
        position: What queries meet beside keys, if anything.

    Returns:
        Those with keys, and those with positions.
    """
    found = [
        node
        for node in above(softmax.inputs[0])
        if node.op_type == "MatMul" and not _is_layer(node)
    ]
    by_position = [n for n in found if position is not None and _reaches(n.inputs[1], position)]
    return [n for n in found if n not in by_position], by_position


def _is_layer(product: ir.Node) -> bool:
    """Whether a product is that of rows with one matrix: what projects positions, no scores."""
    right = product.inputs[1]
    return right is not None and right.shape is not None and len(right.shape) == 2


def averaging_product(softmax: ir.Node) -> ir.Node | None:
    """The MatMul of the probabilities, on its left, and the values."""
    pending = [softmax.outputs[0]]
    seen = set(pending)
    for value in pending:
        for user in value.consumers():
            if user.op_type == "MatMul" and user.inputs[0] is value:
                return user
            pending.extend(v for v in user.outputs if v not in seen)
            seen.update(user.outputs)
    return None


def above(value: ir.Value | None) -> Iterator[ir.Node]:
    """The nodes that compute scores, up to products; what only tells sizes is left out."""
    pending, seen = [value], set[ir.Value]()
    while pending:
        current = pending.pop()
        node = current.producer() if current is not None else None
        if current is None or node is None or current in seen:
            continue
        seen.add(current)
        yield node
        if node.op_type == "Where":
            pending.extend(node.inputs[1:])
        elif node.op_type in ("Add", "Sub", "Mul", "Div"):
            pending.extend(node.inputs)
        elif node.op_type != "MatMul":
            pending.extend(node.inputs[:1])


def _reaches(value: ir.Value | None, source: ir.Value) -> bool:
    """Whether a value is a source seen through layout, factors or cuts."""
    while value is not None and value is not source:
        node = value.producer()
        if node is None or node.op_type not in LAYOUT | {"Mul", "Div", "Split", "Slice"}:
            return False
        value = node.inputs[0]
    return value is not None

"""How wide a head is: from shapes where they are known, else from the Reshape that splits heads."""

from __future__ import annotations

import onnx_ir as ir

from .graph import constant, data_inputs, dims, scalar


def head_size(content: ir.Node, query: ir.Value, key: ir.Value, width: int) -> int | None:
    """Features of one head.

    Args:
        content: The product of queries and keys, or a fused attention node.
        query: Its operand with the queries.
        key: Its operand with the keys.
        width: Features of all heads together.

    Returns:
        The size of the axis that the product sums over, or, where shape inference lost it, the
        size that a Reshape upstream of the queries or keys gives the last axis, or what the
        number of heads on the second of four axes leaves.
    """
    for name in ("num_heads", "q_num_heads"):
        heads = content.attributes.get_int(name, 0)
        if heads:
            return width // heads
    summed = _summed_size(content, query, key)
    if summed is not None:
        return summed
    for operand in (query, key):
        found = _from_reshape(operand, width)
        if found is not None:
            return found
    split = _head_axis(query)
    return width // split if split and split == _head_axis(key) and width % split == 0 else None


def _head_axis(value: ir.Value) -> int | None:
    """The size of the third axis from the end of four: [batch, heads, time, features]."""
    shape = dims(value) or ()
    return shape[1] if len(shape) == 4 else None


def _summed_size(content: ir.Node, query: ir.Value, key: ir.Value) -> int | None:
    left, right = dims(query) or (), dims(key) or ()
    if content.op_type == "Einsum":
        return _einsum_size(content.attributes.get_string("equation", ""), left, right)
    if left and left[-1] is not None:
        return left[-1]
    if content.op_type == "MatMul" and len(right) >= 2:
        return right[-2]
    return None


def _einsum_size(
    equation: str, left: tuple[int | None, ...], right: tuple[int | None, ...]
) -> int | None:
    """The size of the one label that both operands have and the result has not."""
    operands, _, result = equation.replace(" ", "").partition("->")
    first, _, second = operands.partition(",")
    summed = set(first) & set(second) - set(result)
    for labels, shape in ((first, left), (second, right)):
        if len(summed) == 1 and len(labels) == len(shape):
            size = shape[labels.index(next(iter(summed)))]
            if size is not None:
                return size
    return None


def _from_reshape(value: ir.Value, width: int) -> int | None:
    """The head size that the nearest Reshape upstream with two known last sizes gives."""
    pending, seen = [value], set()
    for current in pending:
        node = current.producer()
        if node is None or node in seen or node.op_type in ("MatMul", "Gemm", "Conv", "Einsum"):
            continue
        seen.add(node)
        if node.op_type == "Reshape" and node.inputs[1] is not None:
            tail = _last_two(node.inputs[1])
            if tail is not None:
                heads, size = tail
                if size > 0:
                    return size
                if heads > 0 and width % heads == 0:
                    return width // heads
        pending.extend(data_inputs(node))
    return None


def _last_two(shape: ir.Value) -> tuple[int, int] | None:
    """The last two sizes of a Reshape to four axes or more, -1 for the one left open."""
    tensor = constant(shape)
    if tensor is not None:
        sizes = [int(d) for d in tensor.numpy().reshape(-1)]
        return (sizes[-2], sizes[-1]) if len(sizes) >= 4 else None
    node = shape.producer()
    if node is None or node.op_type != "Concat" or len(node.inputs) < 4:
        return None
    heads, size = scalar(node.inputs[-2]), scalar(node.inputs[-1])
    return None if heads is None or size is None else (int(heads), int(size))

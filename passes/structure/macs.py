"""Multiply-accumulates of the operators that have any worth counting."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from ..operators.linear_layers import ACTIVATION_OF as OUR_LINEAR

#: Operators counted as products over the last axis of the first input.
_PRODUCTS = frozenset({
    "MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    "QLinearMatMul", "MatMulNBits", *OUR_LINEAR,
})  # fmt: skip
#: Convolutions and the input that holds their filters.
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
_ATTENTIONS = frozenset(("Attention", "MultiHeadAttention"))

COUNTED_OPS = _PRODUCTS | _CONVOLUTIONS.keys() | _ATTENTIONS | {"Gemm", "Einsum"}


def macs_of(node: ir.Node, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """The multiply-accumulates of a node, products of two activations included.

    Args:
        node: Any node.
        shapes: Shape by value name.

    Returns:
        The count, 0 for operators without products, None where a shape is missing.
    """
    if node.op_type not in COUNTED_OPS:
        return 0
    operands = [shapes.get(v.name or "") if v is not None else None for v in node.inputs]
    result = shapes.get(node.outputs[0].name or "")
    if node.op_type == "Einsum":
        return _einsum(node.attributes.get_string("equation", ""), operands)
    first = operands[0]
    if first is None or result is None:
        return None
    if node.op_type in _PRODUCTS:
        return math.prod(result) * first[-1]
    if node.op_type == "Gemm":
        summed = first[0] if node.attributes.get_int("transA", 0) else first[1]
        return math.prod(result) * summed
    if node.op_type in _CONVOLUTIONS:
        filters = operands[_CONVOLUTIONS[node.op_type]]
        return None if filters is None else math.prod(result) * math.prod(filters[1:])
    return _attention(operands)


def _einsum(equation: str, operands: list[tuple[int, ...] | None]) -> int | None:
    """The product of the sizes of all labels."""
    labels = equation.replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for names, shape in zip(labels, operands, strict=False):
        if shape is None or len(names) != len(shape):
            return None
        sizes.update(zip(names, shape, strict=True))
    return math.prod(sizes.values())


def _attention(operands: list[tuple[int, ...] | None]) -> int | None:
    """Scores and context: queries times keys times the features of both."""
    query, key, value = (operands + [None] * 3)[:3]
    if query is None or key is None or value is None:
        return None
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])

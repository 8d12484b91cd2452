"""Gated linear units: a product of two halves of a layer's output, one of them bent.

The halves come from a Split or from two Slices; the gate is the half that goes through a
non-linearity (Sigmoid in Dauphin et al. 2017, others in Shazeer 2020).
"""

from __future__ import annotations

import onnx_ir as ir

from .flow import Flow
from .graph import ELEMENTWISE_OPS, scalar

#: Element-wise, but no non-linearity: biases, masks, scales, formats.
_STRAIGHT_OPS = frozenset({
    "Add", "Sub", "Mul", "Div", "Cast", "CastLike", "Where", "Identity", "Dropout",
    "QuantizeLinear", "DequantizeLinear",
})  # fmt: skip


def gate_half(flow: Flow, whole: ir.Value, below: ir.Value) -> int | None:
    """Which half of a layer's output is the gate.

    Args:
        flow: The flow of the features.
        whole: The layer's output.
        below: Where the unit has ended.

    Returns:
        0 or 1; None if no product of a half with a bent other half stands between.
    """
    for node in flow.between(whole, below):
        factors = flow.inputs(node)
        if node.op_type != "Mul" or len(factors) != 2:
            continue
        (left, left_is_bent), (right, right_is_bent) = (_half(flow, whole, v) for v in factors)
        if {left, right} == {0, 1} and left_is_bent != right_is_bent:
            return left if left_is_bent else right
    return None


def _half(flow: Flow, whole: ir.Value, value: ir.Value) -> tuple[int | None, bool]:
    """The half of the layer's output that computes a value (None: both), and if it was bent."""
    halves: set[int | None] = set()
    bent = False
    pending, seen = [value], set()
    for current in pending:
        node = current.producer()
        if current in seen or node is None:
            continue
        seen.add(current)
        if current is whole:
            halves.add(None)
        elif node.op_type == "Split" and len(node.outputs) == 2:
            halves.add(current.index())
        elif node.op_type == "Slice":
            halves.add(0 if scalar(node.inputs[1]) == 0 else 1)
        else:
            bent |= node.op_type in ELEMENTWISE_OPS - _STRAIGHT_OPS
            pending.extend(flow.inputs(node))
    return (halves.pop() if len(halves) == 1 else None), bent

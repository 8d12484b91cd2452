"""Constant factors folded into the weights before them.

A Conformer multiplies by constants all over: one half after each feed-forward module, the root of
the width after the subsampling, one over the root of the head size on T × T scores. Each is linear
in something stored: ``c (x W + b) = x (c W) + c b``. Going up from the factor through what is
linear, sums on both sides and products on one, ends at weights, biases and constants; where every
use of every value on the way belongs to it, the constants take the factor and the node goes. A
factor that cannot go up may go to what it is multiplied with further down: ``(c q) k = q (c k)``.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...rewrite import constant, replace_value, scale_input

#: Operators whose first input may be scaled instead of their result.
_LAYOUT = frozenset(("Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"))
#: A value seen as one input of a node.
_Slot = tuple[ir.Node, int]


@dataclasses.dataclass(frozen=True)
class FoldScales(InPlacePass):
    """Removes Mul and Div by one stored number where stored numbers before it can take the factor.

    Lossless up to rounding.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            found = _factor(node)
            if found is None:
                continue
            value, factor = found
            try:
                constants = _constants_for(value, node)
            except _NotLinearError as error:
                journal.refuse(layer_of(node), f"its factor {factor:.6g} stays: {error}")
                continue
            for user, index in constants:
                scale_input(user, index, factor)
            replace_value(node.outputs[0], value)
            journal.change(layer_of(node), f"factor {factor:.6g} folded into what is stored")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


class _NotLinearError(Exception):
    """Why a factor cannot move up, in words that follow a colon."""


def _factor(node: ir.Node) -> tuple[ir.Value, float] | None:
    """What a node multiplies by one stored number, and the number; None for other nodes."""
    if node.domain or node.op_type not in ("Mul", "Div"):
        return None
    for index in (1, 0) if node.op_type == "Mul" else (1,):
        value, stored = node.inputs[1 - index], constant(node.inputs[index])
        if value is None or stored is None or stored.size != 1 or constant(value) is not None:
            continue
        number = float(stored.item())
        # A stored number with more axes than the value adds them to the result.
        if value.shape is None or stored.ndim > len(value.shape):
            return None
        if value.dtype != ir.DataType.FLOAT or not np.isfinite(number) or number == 0:
            return None
        return value, number if node.op_type == "Mul" else 1 / number
    return None


def _constants_for(value: ir.Value, node: ir.Node) -> list[_Slot]:
    """The stored inputs that take the factor by which a node multiplies a value.

    Raises:
        _NotLinearError: There are none.
    """
    errors = []
    for scaled, user in ((value, node), *_partners(node)):
        for side in (0, 1):
            try:
                return _constants_before(scaled, user, side)
            except _NotLinearError as error:
                errors.append(error)
    raise errors[0]


def _partners(node: ir.Node) -> list[tuple[ir.Value, ir.Node]]:
    """What a node's result is multiplied with where that is its only use, and the product."""
    value = node.outputs[0]
    while len(value.uses()) == 1 and not value.is_graph_output():
        ((user, index),) = value.uses()
        if user.op_type == "MatMul":
            partner = user.inputs[1 - index]
            return [(partner, user)] if partner is not None and partner is not value else []
        if user.domain or user.op_type not in _LAYOUT or index != 0:
            break
        value = user.outputs[0]
    return []


def _constants_before(value: ir.Value, user: ir.Node, side: int) -> list[_Slot]:
    """The stored inputs that take a factor of a value.

    Args:
        value: What is scaled.
        user: The node that uses it so.
        side: The factor of a product that is scaled where neither is stored.

    Raises:
        _NotLinearError: The value is no linear function of stored numbers, or is used otherwise.
    """
    constants: list[_Slot] = []
    passed: set[_Slot] = {(user, index) for index, each in enumerate(user.inputs) if each is value}
    scaled: dict[ir.Value, None] = {}
    pending = [value]
    while pending:
        current = pending.pop()
        if current in scaled:
            continue
        scaled[current] = None
        for slot in _inputs_to_scale(current, side):
            node, index = slot
            given = node.inputs[index]
            assert given is not None
            passed.add(slot)
            if constant(given) is None:
                pending.append(given)
            else:
                constants.append(slot)
    for each in scaled:
        if each.is_graph_output():
            raise _NotLinearError(f"{each.name} is an output of the model")
        for node, index in each.uses():
            if (node, index) not in passed and node.op_type != "Shape":
                raise _NotLinearError(f"{each.name} is used by {node.op_type} too")
    return constants


def _inputs_to_scale(value: ir.Value, side: int) -> list[_Slot]:
    """The inputs of a value's producer which, all scaled, scale the value."""
    node = value.producer()
    if node is None or node.domain:
        raise _NotLinearError(f"{value.name} is not computed from stored numbers")
    if node.op_type in _LAYOUT:
        return [(node, 0)]
    if node.op_type in ("Add", "Sub"):
        return [(node, 0), (node, 1)]
    if node.op_type == "Conv":
        return [(node, index) for index in range(1, len(node.inputs)) if node.inputs[index]]
    if node.op_type in ("MatMul", "Mul"):
        stored = [index for index in (1, 0) if constant(node.inputs[index]) is not None]
        return [(node, stored[0] if stored else side)]
    if node.op_type == "Div":
        return [(node, 0)]
    raise _NotLinearError(f"{node.op_type} is in the way")

"""Sizes that are asked of attention's scores, asked of the keys instead.

WeNet cuts the mask to as many frames as scores have. The scores must then exist for their size
alone, also where one operator computes the context without them.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...rewrite import Patch, constant, is_known, replace_value
from ...structure.scores import LAYOUT, above

#: On the way from a product to scores; a Slice, a Pad or a Reshape changes the size in question.
_ELEMENTWISE = frozenset(("Add", "Sub", "Mul", "Div", "Where"))


@dataclasses.dataclass(frozen=True)
class ScoreSizes(InPlacePass):
    """Rewrites the last size of scores as the number of frames of what their products read.

    Lossless.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        scores: dict[ir.Value, None] = {}
        for node in model.graph:
            if node.op_type == "Softmax":
                scores.update((n.outputs[0], None) for n in above(node.inputs[0]))
        for value in scores:
            for user in list(value.consumers()):
                if user.op_type == "Shape" and not user.domain and _rewrite(value, user):
                    journal.change(layer_of(user), "a size of scores is asked of the keys")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _rewrite(value: ir.Value, shape: ir.Node) -> bool:
    """Replaces what reads the last size of scores; whether anything did."""
    product = _product(value)
    keys = product.inputs[1] if product is not None else None
    if keys is None or keys.shape is None or value.shape is None or shape.attributes:
        return False
    axis = len(keys.shape) - 1
    if len(value.shape) != len(keys.shape):
        return False  # a layer's rows and matrix
    readers = [node for node in shape.outputs[0].consumers() if _takes_last(node, axis)]
    source, axis = _first_of_size(keys, axis)
    for reader in readers:
        patch = Patch(reader)
        size = patch.op("Shape", source, start=axis, end=axis + 1)
        places = constant(reader.inputs[1])
        if reader.op_type == "Gather" and places is not None and places.ndim == 0:
            size = patch.op("Squeeze", size)
        replace_value(reader.outputs[0], size)
    return bool(readers)


def _product(value: ir.Value | None) -> ir.Node | None:
    """The product that a value has as many columns as: what follows it goes element by element."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type == "MatMul":
        return node
    if node.op_type not in _ELEMENTWISE:
        return None
    operands = node.inputs[1:] if node.op_type == "Where" else node.inputs
    return next((found for v in operands if (found := _product(v)) is not None), None)


def _takes_last(node: ir.Node, last: int) -> bool:
    """Whether a node takes the last of the sizes of ``last + 1`` axes."""
    places = [constant(value) for value in node.inputs[1:]]
    if any(array is None for array in places):
        return False
    first = [array.reshape(-1).tolist() for array in places if array is not None]
    if node.op_type == "Gather":
        return first[0] in ([-1], [last])
    return node.op_type == "Slice" and first[0] in ([-1], [last]) and first[1][0] > last


def _first_of_size(value: ir.Value, axis: int) -> tuple[ir.Value, int]:
    """Where the size of an axis comes from: the value before all that only moves elements."""
    assert value.shape is not None, "asked for before"
    size = value.shape[axis]
    if not is_known(size):
        return value, axis
    while (node := value.producer()) is not None and node.op_type in LAYOUT:
        before = node.inputs[0]
        if before is None or before.shape is None or list(before.shape).count(size) != 1:
            break
        value, axis = before, list(before.shape).index(size)
    return value, axis

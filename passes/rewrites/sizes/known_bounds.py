"""Weights that a model cuts by sizes which its shapes tell.

icefall's attention cuts one matrix into queries, keys and values by the width of its input, which
exporters ask for at run time. Only shapes without any unknown size are folded by others, and the
batch is not known.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...rewrite import Patch, constant, integers_of

_MOVES = frozenset(("Unsqueeze", "Squeeze", "Reshape", "Identity", "Cast"))
_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)
_ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.floor_divide}


@dataclasses.dataclass(frozen=True)
class KnownBounds(InPlacePass):
    """Writes where a Slice of a constant begins and ends, where inference knows the sizes.

    Other sizes stay as they are computed. Lossless.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in model.graph:
            if node.op_type != "Slice" or constant(node.inputs[0]) is None:
                continue
            for place in (1, 2):
                bound = node.inputs[place]
                number = _known(bound) if constant(bound) is None else None
                if number is not None:
                    typed = number.reshape(-1).astype(integers_of(bound).numpy())
                    known = Patch(node).constant(typed, "known")
                    node.replace_input_with(place, known)
                    journal.change(layer_of(node), "a bound is a constant")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _known(value: ir.Value | None) -> np.ndarray | None:
    """The integers of a value that is computed from known sizes and constants, else None."""
    array = constant(value)
    if array is not None:
        return array if np.issubdtype(array.dtype, np.integer) else None
    node = value.producer() if value is not None and value.dtype in _INTEGERS else None
    if node is None:
        return None
    if node.op_type in _MOVES:
        return _known(node.inputs[0])
    if node.op_type == "Gather":
        return _size(node)
    if node.op_type not in _ARITHMETIC:
        return None
    left, right = (_known(each) for each in node.inputs)
    if left is None or right is None:
        return None
    if node.op_type == "Div" and ((left < 0).any() or (right <= 0).any()):
        return None  # ONNX rounds towards zero
    return np.asarray(_ARITHMETIC[node.op_type](left, right))


def _size(gather: ir.Node) -> np.ndarray | None:
    """What a Gather takes of a shape, where all of it is known."""
    places, source = constant(gather.inputs[1]), gather.inputs[0]
    shape = source.producer() if source is not None else None
    if places is None or shape is None or shape.op_type != "Shape" or shape.attributes:
        return None
    sizes = shape.inputs[0].shape if shape.inputs[0] is not None else None
    taken = [sizes[int(place)] for place in places.reshape(-1)] if sizes is not None else [None]
    return np.array(taken, np.int64) if all(isinstance(each, int) for each in taken) else None

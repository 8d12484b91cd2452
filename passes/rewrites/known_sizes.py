"""Sizes that a model asks for although its shapes tell them.

Exporters ask a tensor for its width and cut weights by it (icefall's attention cuts one matrix into
queries, keys and values so). Only Shape as a whole is folded by others, and the batch is not known.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import InPlacePass, Journal, PassResult, layer_of
from ..rewrite import Patch, constant, replace_value


@dataclasses.dataclass(frozen=True)
class KnownSizes(InPlacePass):
    """Replaces ``Gather(Shape(x), places)`` by numbers where inference knows the sizes there.

    Lossless.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for shape in [node for node in model.graph if node.op_type == "Shape" and not node.domain]:
            source = shape.inputs[0]
            if source is None or source.shape is None or shape.attributes:
                continue
            for reader in shape.outputs[0].consumers():
                sizes = _sizes(reader, source.shape)
                if sizes is not None and not reader.outputs[0].is_graph_output():
                    number = Patch(reader).constant(sizes, "known")
                    replace_value(reader.outputs[0], number)
                    journal.change(layer_of(reader), "a size is a constant")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _sizes(reader: ir.Node, shape: ir.Shape) -> np.ndarray | None:
    """What a Gather takes of a shape, where all of it is known."""
    places = constant(reader.inputs[1]) if reader.op_type == "Gather" else None
    if places is None or reader.attributes.get_int("axis", 0) != 0:
        return None
    taken = [shape[int(place)] for place in places.reshape(-1)]
    if not all(isinstance(size, int) for size in taken):
        return None
    return np.array(taken, np.int64).reshape(places.shape)

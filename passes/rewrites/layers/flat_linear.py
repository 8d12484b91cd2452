"""Linear layers on flattened frames, written on frames as they are.

TensorFlow's Dense is a product of matrices: tf2onnx writes [batch, frames, width] as rows, the
product, and the rows as [batch, frames, units] again, with sizes that are computed beside. MatMul
needs neither, and a bias or an activation then stands directly behind the product.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...fuse.region import Array, Region
from ...linear import only_user
from ...rewrite import Patch, constant, producer, replace_value

#: Sizes of all axes but the last at which both are evaluated, from the front.
_TRIALS = ((2, 3, 5, 4), (1, 4, 2, 3))


@dataclasses.dataclass(frozen=True)
class FlatLinear(InPlacePass):
    """Rewrites ``Reshape(MatMul(Reshape(x), W))`` as ``MatMul(x, W)``.

    Where the first Reshape keeps the last axis alone and the second gives the others back, which
    evaluating both shows. Lossless.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            weight = constant(node.inputs[1]) if node.op_type == "MatMul" else None
            if weight is None or weight.ndim != 2:
                continue
            flattened = producer(node.inputs[0], "Reshape")
            back = only_user(node.outputs[0])
            if flattened is None or back is None or back.op_type != "Reshape":
                continue
            x, y = flattened.inputs[0], back.outputs[0]
            if x is None or not _is_the_layer(model.graph, x, y, weight):
                continue
            product = Patch(node).op("MatMul", x, node.inputs[1])
            product.type, product.shape = y.type, y.shape
            replace_value(y, product)
            journal.change(layer_of(node), "linear layer on frames as they are")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _is_the_layer(graph: ir.Graph, x: ir.Value, y: ir.Value, weight: Array) -> bool:
    """Whether y is the product of x, all its axes but the last kept, and a weight."""
    if x.shape is None or len(x.shape) < 3 or len(x.shape) > len(_TRIALS[0]) + 1:
        return False
    if x.shape[-1] != len(weight):
        return False  # rows are several frames, or a part of one
    region = Region(graph, [x], y)
    for sizes in _TRIALS:
        shape = (*sizes[: len(x.shape) - 1], len(weight))
        array = np.random.default_rng(0).standard_normal(shape).astype(weight.dtype)
        found, wanted = region.attempt({x: array}), array @ weight
        if found is None or found.shape != wanted.shape:
            return False
        if not np.allclose(found, wanted, rtol=1e-4, atol=1e-4):
            return False
    return True

"""Linear layers on rows of all items, written on frames as they are.

torch's nn.MultiheadAttention lays its context out as rows [T · B, width] for ``out_proj`` and gives
the result its axes back behind it. Where the layer keeps the width, the same sizes give them back
before it: what follows attention is then a layer of frames, as elsewhere.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import LAYER_KEY, InPlacePass, Journal, PassResult
from ...linear import MatMulLayer, matmul_layers, only_user
from ...rewrite import Patch, replace_value


@dataclasses.dataclass(frozen=True)
class LinearRows(InPlacePass):
    """Rewrites ``Reshape(x W + b)`` of rows x and a square W as ``Reshape(x) W + b``.

    Where the Reshape keeps the last axis and there is no other use of the rows. Exact.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for layer in list(matmul_layers(model.graph)):
            back = only_user(layer.output)
            if back is None or back.op_type != "Reshape" or not _keeps_width(layer, back):
                continue
            _move(layer, back)
            journal.change(layer.id, "linear layer on frames in place of rows")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _keeps_width(layer: MatMulLayer, back: ir.Node) -> bool:
    """Whether a layer of rows and the Reshape behind it both keep the last axis."""
    rows, matrix, result = layer.input.shape, layer.weight.shape, back.outputs[0].shape
    if rows is None or matrix is None or result is None or len(rows) != 2 or len(result) < 3:
        return False
    return matrix[0] == matrix[1] == result[-1]


def _move(layer: MatMulLayer, back: ir.Node) -> None:
    """Puts the Reshape before the layer; rows and results of a square layer have the same sizes."""
    patch = Patch(back, layer.node.name)
    y = back.outputs[0]
    zeros = back.attributes.get_int("allowzero", 0)
    frames = patch.op("Reshape", layer.input, back.inputs[1], allowzero=zeros)
    product = patch.node("MatMul", (frames, layer.weight))
    product.metadata_props[LAYER_KEY] = layer.id
    (result,) = product.outputs
    frames.type = result.type = y.type
    frames.shape = result.shape = y.shape
    if layer.bias is not None:
        result = patch.op("Add", result, layer.bias)
    replace_value(y, result)

"""Gemm written as MatMul and Add, the one spelling of linear layers that later passes know.

torch exports a linear layer on rows without a batch axis as Gemm, that of nn.MultiheadAttention's
output for instance. What stays in float32 ONNX Runtime turns back when it loads the model.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...rewrite import Patch, constant, replace_value


@dataclasses.dataclass(frozen=True)
class GemmToMatMul(InPlacePass):
    """Rewrites ``Gemm(X, W, b)`` of a constant W as ``Add(MatMul(X, W'), b)``.

    W' is W in the order that MatMul reads, times alpha. Lossless up to the order of summation.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            if node.op_type != "Gemm" or node.domain or constant(node.inputs[1]) is None:
                continue
            if node.attributes.get_int("transA", 0):
                journal.refuse(layer_of(node), "the Gemm turns its rows")
                continue
            if len(node.inputs) > 2 and node.attributes.get_float("beta", 1.0) != 1.0:
                journal.refuse(layer_of(node), "the Gemm scales what it adds")
                continue
            replace_value(node.outputs[0], _product(node))
            journal.change(layer_of(node), "Gemm written as MatMul")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _product(node: ir.Node) -> ir.Value:
    weight = constant(node.inputs[1])
    assert weight is not None
    patch = Patch(node)
    turned = weight.T if node.attributes.get_int("transB", 0) else weight
    alpha = np.array(node.attributes.get_float("alpha", 1.0), weight.dtype)
    matrix = patch.constant(np.ascontiguousarray(turned * alpha), "weight")
    product = patch.op("MatMul", node.inputs[0], matrix)
    product.type, product.shape = node.outputs[0].type, node.outputs[0].shape
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return product if bias is None else patch.op("Add", product, bias)

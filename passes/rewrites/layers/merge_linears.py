"""Linear layers that read the same value, as one: q, k and v of attention.

One product of three times the width reads (and quantises) its input once and fills the kernels'
tiles better; a Split hands the parts on.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import LAYER_KEY, InPlacePass, Journal, PassResult
from ...linear import MatMulLayer, matmul_layers
from ...rewrite import Patch, constant, replace_value


@dataclasses.dataclass(frozen=True)
class MergeLinears(InPlacePass):
    """Merges MatMul layers of float weights with a common input into MatMul, Add, Split.

    Lossless up to the order of summation.

    Attributes:
        most: Larger groups are left alone: the position products of all layers read one table,
            but their joint result is too large to stay in the cache.
    """

    most: int = 4

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        groups: dict[tuple[ir.Value, bool], list[MatMulLayer]] = {}
        for layer in matmul_layers(model.graph):
            if constant(layer.input) is not None:
                continue  # computed when the model is loaded
            weight = constant(layer.weight)
            if weight is not None and weight.dtype == np.float32:
                groups.setdefault((layer.input, layer.bias is not None), []).append(layer)
        for layers in groups.values():
            if len(layers) == 1:
                continue
            if len(layers) > self.most:
                journal.refuse(
                    layers[0].id, f"{len(layers)} layers read one value, more than {self.most}"
                )
                continue
            _merge(layers)
            journal.change(
                layers[0].id, f"{len(layers)} linear layers of one input computed in one product"
            )
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _merge(layers: list[MatMulLayer]) -> None:
    weights = [constant(layer.weight) for layer in layers]
    widths = [weight.shape[1] for weight in weights if weight is not None]
    patch = Patch(layers[0].node)
    matrix = patch.constant(np.concatenate([w for w in weights if w is not None], axis=1), "merged")
    result = patch.op("MatMul", layers[0].input, matrix)
    node = result.producer()
    assert node is not None
    node.metadata_props[LAYER_KEY] = merged_id([layer.id for layer in layers])
    biases = [constant(layer.bias) for layer in layers]
    if layers[0].bias is not None:
        bias = np.concatenate([b for b in biases if b is not None])
        result = patch.op("Add", result, patch.constant(bias, "merged_bias"))
    shape = layers[0].output.shape
    if shape is not None:
        result.shape = ir.Shape([*shape.dims[:-1], sum(widths)])
    result.type = layers[0].output.type
    split = patch.node("Split", (result, patch.ints(*widths)), {"axis": -1}, outputs=len(layers))
    for layer, part in zip(layers, split.outputs, strict=True):
        replace_value(layer.output, part)


def merged_id(ids: list[str]) -> str:
    """``a.linear_q``, ``a.linear_k``, ``a.linear_v`` become ``a.linear_q+linear_k+linear_v``."""
    prefix = ids[0].rpartition(".")[0]
    if prefix and all(each.rpartition(".")[0] == prefix for each in ids):
        return f"{prefix}." + "+".join(each.rpartition(".")[2] for each in ids)
    return "+".join(ids)

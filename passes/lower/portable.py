"""Target ``portable``: what stock ONNX Runtime runs fast, without a library of ours."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import InPlacePass, Journal, PassResult
from ..linear import matmul_layers
from ..rewrite import Patch, replace_value
from .qdq import dynamic_source, int8_linears, refuse_lowered
from .storage import STORED_TYPES, decode_nodes
from .stored import stored_weight_of

#: ONNX Runtime's contributed operators.
DOMAIN = "com.microsoft"


@dataclasses.dataclass(frozen=True)
class LowerPortable(InPlacePass):
    """Linear layers become ``com.microsoft.DynamicQuantizeMatMul``.

    Weights stay signed and per channel, without a zero point: the only form for which ONNX Runtime
    has a fast path everywhere. Its activations have one range for the whole tensor instead of one
    per frame, so a loud frame costs a quiet one precision; the report says how much.
    Convolutions keep their QDQ nodes, which ONNX Runtime turns into QLinearConv. Other formats of
    linear layers have no fast kernel there: their weights are stored in codes and computed with in
    float32, their activations stay float32.
    """

    def call(self, model: ir.Model) -> PassResult:
        refuse_lowered(model)
        journal = Journal()
        for linear in int8_linears(model):
            layer = linear.layer
            patch = Patch(layer.node)
            result = patch.op(
                "DynamicQuantizeMatMul",
                linear.input,
                patch.constant(linear.codes, "int8"),
                patch.constant(linear.scales, "scale"),
                None,
                patch.constant(linear.bias, "bias") if np.any(linear.bias) else None,
                domain=DOMAIN,
            )
            replace_value(layer.output, result)
            journal.change(layer.id, "DynamicQuantizeMatMul")
        if journal.result(model).modified:
            model.opset_imports[DOMAIN] = 1
        # What stands replaced is no layer to be stored.
        common.RemoveUnusedNodesPass()(model)
        store_linears(model, journal)
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def store_linears(model: ir.Model, journal: Journal) -> None:
    """Linear layers of other formats keep their codes as storage."""
    decoded: dict[ir.Value, ir.Value] = {}
    for layer in list(matmul_layers(model.graph)):
        dequantize = layer.weight.producer()
        weight = None if dequantize is None else stored_weight_of(dequantize)
        if dequantize is None or weight is None or weight.dtype not in STORED_TYPES:
            continue
        if layer.weight not in decoded:
            patch = Patch(dequantize, dequantize.inputs[0].name)  # type: ignore[union-attr]
            decoded[layer.weight] = decode_nodes(patch, weight)
        layer.node.replace_input_with(1, decoded[layer.weight])
        source = dynamic_source(layer.input) or dynamic_source(
            layer.input, ir.DataType.FLOAT8E4M3FN
        )
        if source is not None:
            layer.node.replace_input_with(0, source)
        lost = "" if source is None else ", activations float32"
        journal.change(layer.id, f"{weight.dtype.name.lower()} as storage{lost}")

"""Target ``cpu``: the kernel library's operators, each with a function body as its meaning."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import LAYER_KEY, InPlacePass, Journal, PassResult
from ..linear import only_user
from ..quantlinear import define_quant_linear, pack_int8, quant_linear_node
from ..rewrite import Patch, replace_value
from .qdq import int8_linears, refuse_lowered


@dataclasses.dataclass(frozen=True)
class LowerCpu(InPlacePass):
    """Linear layers become ``confpress.v1.QuantLinear``, with the SiLU that follows fused.

    Activations are quantised per frame exactly as the interchange model says. Convolutions keep
    their QDQ nodes, which ONNX Runtime turns into QLinearConv.
    """

    def call(self, model: ir.Model) -> PassResult:
        refuse_lowered(model)
        journal = Journal()
        for linear in int8_linears(model):
            layer = linear.layer
            patch = Patch(layer.node)
            activated = silu_of(layer.output)
            activation = "" if activated is None else "silu"
            define_quant_linear(model, activation)
            node = quant_linear_node(
                linear.input,
                patch.constant(pack_int8(np.ascontiguousarray(linear.codes.T)), "packed"),
                patch.constant(linear.scales, "scale"),
                patch.constant(linear.bias, "bias"),
                shape=(linear.codes.shape[1], linear.codes.shape[0]),
                activation=activation,
                name=f"{patch.name}/QuantLinear",
            )
            node.metadata_props[LAYER_KEY] = layer.id
            patch.graph.insert_before(layer.node, node)
            replace_value(activated or layer.output, node.outputs[0])
            journal.change(layer.id, f"QuantLinear{' with SiLU' if activation else ''}")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def silu_of(value: ir.Value) -> ir.Value | None:
    """``x · Sigmoid(x)`` if that is all that reads x, else None."""
    users = value.consumers()
    if len(users) != 2 or value.is_graph_output():
        return None
    for sigmoid, product in (users, reversed(users)):
        if (
            sigmoid.op_type == "Sigmoid"
            and product.op_type == "Mul"
            and only_user(sigmoid.outputs[0]) is product
            and set(product.inputs) == {value, sigmoid.outputs[0]}
        ):
            return product.outputs[0]
    return None

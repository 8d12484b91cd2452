"""Target ``reference``: the interchange model with every stored code decoded to float32.

It runs formats that no kernel computes, such as FP4, and judges their error; activations keep their
QDQ nodes, which state how they are rounded.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import InPlacePass, Journal, PassResult, layer_of
from ..rewrite import Patch, replace_value
from .qdq import refuse_lowered
from .stored import stored_weight_of


@dataclasses.dataclass(frozen=True)
class LowerReference(InPlacePass):
    """DequantizeLinear of constants becomes the float32 constant that it comes to."""

    def call(self, model: ir.Model) -> PassResult:
        refuse_lowered(model)
        journal = Journal()
        for node in list(model.graph):
            stored = stored_weight_of(node)
            if stored is None:
                continue
            decoded = Patch(node, node.inputs[0].name).constant(stored.decoded(), "decoded")  # type: ignore[union-attr]
            replace_value(node.outputs[0], decoded)
            journal.change(layer_of(node), f"{stored.dtype.name} decoded to float32")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)

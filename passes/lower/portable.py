"""Target ``portable``: what stock ONNX Runtime runs fast, without a library of ours."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import InPlacePass, Journal, PassResult
from ..rewrite import Patch, replace_value
from .qdq import int8_linears, refuse_lowered

#: ONNX Runtime's contributed operators.
DOMAIN = "com.microsoft"


@dataclasses.dataclass(frozen=True)
class LowerPortable(InPlacePass):
    """Linear layers become ``com.microsoft.DynamicQuantizeMatMul``.

    Weights stay signed and per channel, without a zero point: the only form for which ONNX Runtime
    has a fast path everywhere. Its activations have one range for the whole tensor instead of one
    per frame, so a loud frame costs a quiet one precision; the report says how much.
    Convolutions keep their QDQ nodes, which ONNX Runtime turns into QLinearConv.
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
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)

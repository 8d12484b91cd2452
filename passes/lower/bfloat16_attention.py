"""Attention whose products round their operands to bfloat16, as fast processors multiply them."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from ..base import LAYER_KEY, InPlacePass, Journal, PassResult
from ..operators.attention import ROUNDED, attention_function
from ..operators.functions import define_operator
from ..operators.quantlinear import DOMAIN


@dataclasses.dataclass(frozen=True)
class BFloat16Attention(InPlacePass):
    """The operators of attention become their twins in bfloat16: a format, not a rewrite.

    The operands of the products have 8 bits of precision then, the sums and the Softmax still 24.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        fused = [n for n in model.graph if n.domain == DOMAIN and n.op_type in ROUNDED]
        for exact in dict.fromkeys(node.op_identifier() for node in fused):
            del model.functions[exact]
            define_operator(model, attention_function, ROUNDED[exact[1]])
        for node in fused:
            node.op_type = ROUNDED[node.op_type]
            where = node.metadata_props.get(LAYER_KEY, node.name or node.op_type)
            journal.change(where, "attention multiplies in bfloat16")
        if not fused:
            journal.refuse(
                "model",
                "no attention multiplies in bfloat16: only the operators that the fusion "
                "`attention` makes do",
            )
        return journal.result(model)

"""Masks between integer convolutions applied to the codes.

Between two convolutions the interchange model decodes, multiplies by a mask of frames and encodes
with the same scale again. Choosing between the code and the zero point says the same on a quarter
of the bytes, and ONNX Runtime then turns no layout between the two.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import InPlacePass, Journal, PassResult, layer_of
from ..linear import only_user
from ..rewrite import Patch, constant, replace_value
from ..rewrites.masks.frame_mask import masked_value


@dataclasses.dataclass(frozen=True)
class MaskCodes(InPlacePass):
    """``Quantize(Mul(Dequantize(q), mask))`` of one scale becomes ``Where(mask, q, zero point)``.

    Exact: a masked number is encoded as the zero point.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            masked = masked_value(node)
            decode = masked.value.producer() if masked is not None else None
            encode = only_user(node.outputs[0])
            if masked is None or decode is None or encode is None:
                continue
            if decode.op_type != "DequantizeLinear" or encode.op_type != "QuantizeLinear":
                continue
            if not _same_numbers(decode, encode):
                continue
            codes = Patch(encode).op("Where", masked.mask, decode.inputs[0], encode.inputs[2])
            replace_value(encode.outputs[0], codes)
            journal.change(layer_of(node), "mask applied to codes")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _same_numbers(decode: ir.Node, encode: ir.Node) -> bool:
    """Whether two nodes have one scale and one zero point, each a single number."""
    if len(decode.inputs) != 3 or len(encode.inputs) != 3:
        return False
    for left, right in zip(decode.inputs[1:], encode.inputs[1:], strict=True):
        first, second = constant(left), constant(right)
        if first is None or second is None or first.size != 1 or first.dtype != second.dtype:
            return False
        if first.item() != second.item():
            return False
    return True

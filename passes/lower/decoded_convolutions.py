"""Integer convolutions of few channels into few, in float32 again.

ONNX Runtime has a direct integer convolution for 16 output channels and more; others copy every
window, which costs more than the few products of a window do in float32. The first convolution of
icefall's encoders makes eight channels of one, and its activation reads floats.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import InPlacePass, Journal, PassResult, layer_of
from ..quantize import quantized_output
from ..rewrite import Patch, producer, replace_value
from ..rewrites.masks.frame_mask import masked_value
from .stored import conv2d_weight_of

#: Channels in and out below which float32 is faster.
_INPUTS = 8
_OUTPUTS = 16


@dataclasses.dataclass(frozen=True)
class DecodeConvolutions(InPlacePass):
    """Small convolutions in QDQ form read their input and what their codes mean in float32.

    Their result stays quantised where a convolution reads it.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            weight = conv2d_weight_of(node)
            if weight is None:
                continue
            outputs, inputs = weight.codes.shape[:2]
            if inputs >= _INPUTS or outputs >= _OUTPUTS:
                continue
            decoded = Patch(node).constant(weight.decoded(), "decoded")
            node.replace_input_with(1, decoded)
            source = _encoded(node.inputs[0])
            if source is not None:
                node.replace_input_with(0, source)
            _decode_result(quantized_output(node))
            journal.change(layer_of(node), f"float32, as it makes {outputs} channels of {inputs}")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _encoded(value: ir.Value | None) -> ir.Value | None:
    """What a value was before it was quantised and decoded; None where it was not."""
    decode = producer(value, "DequantizeLinear")
    encode = producer(decode.inputs[0], "QuantizeLinear") if decode is not None else None
    return None if encode is None else encode.inputs[0]


def _decode_result(result: ir.Value) -> None:
    """Lets those who read a decoded result as floats read it as it was computed."""
    encoded = [u.outputs[0] for u in result.consumers() if u.op_type == "QuantizeLinear"]
    for decode in [user for value in encoded for user in value.consumers()]:
        readers = decode.outputs[0].consumers()
        integers = any(r.op_type == "Conv" or masked_value(r) is not None for r in readers)
        if decode.op_type == "DequantizeLinear" and not integers:
            replace_value(decode.outputs[0], result)

"""The subsampling's last layout change, as int8 convolutions compute.

Exports bring [batch, channels, frames, mels] to [batch, frames, channels · mels] by a Transpose,
then project. ONNX Runtime's integer convolutions compute with the channels last; with the weight's
rows in the order mels · channels instead, what they leave is already the layer's input, and its
Transpose cancels with theirs. Convolutions in float32 lose nothing by it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from ...base import InPlacePass, Journal, PassResult
from ...linear import matmul_layers
from ...rewrite import Patch, constant
from ..masks.frame_mask import flattened_frames

#: What stands between a convolution and the layout change: activations and masks.
_ELEMENTWISE = frozenset(("Add", "Clip", "Div", "Mul", "Relu", "Sigmoid", "Where"))


@dataclasses.dataclass(frozen=True)
class FramesMajor(InPlacePass):
    """Rewrites ``Linear(Reshape(Transpose(x, (0, 2, 1, 3))))`` to ``Transpose(x, (0, 2, 3, 1))``.

    The weight's rows are permuted. Lossless up to the order of summation.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for layer in list(matmul_layers(model.graph)):
            flattened = flattened_frames(layer)
            weight = constant(layer.weight)
            if flattened is None or weight is None:
                continue
            if flattened.transpose.attributes.get_ints("perm") != (0, 2, 1, 3):
                continue
            if not _is_of_convolution(flattened.value):
                continue
            flattened.transpose.attributes["perm"] = ir.AttrInt64s("perm", (0, 2, 3, 1))
            flattened.transpose.outputs[0].shape = None
            rows = weight.reshape(flattened.channels, flattened.mels, flattened.width)
            permuted = rows.swapaxes(0, 1).reshape(weight.shape)
            patch = Patch(layer.node, layer.weight.name)
            layer.node.replace_input_with(
                1, patch.constant(np.ascontiguousarray(permuted), "frames_major")
            )
            journal.change(layer.id, "reads frames with their channels last")
        return journal.result(model)


def _is_of_convolution(value: ir.Value) -> bool:
    """Whether a convolution computes a value, but for an activation and a mask; heads do not."""
    pending: list[ir.Value | None] = [value]
    while pending:
        current = pending.pop()
        node = current.producer() if current is not None else None
        if node is None:
            continue
        if node.op_type == "Conv":
            return True
        if node.op_type in _ELEMENTWISE:
            pending.extend(node.inputs)
    return False

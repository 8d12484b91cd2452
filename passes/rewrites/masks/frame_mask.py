"""Masks of frames moved behind the linear layer that follows them.

Exports with a length mask multiply what the subsampling's last convolution computes, [batch,
channels, frames, mels], by zero where an utterance has ended, lay it out anew and project it.
A masked frame's projection is the bias; so the mask may as well choose, of the projected frames
[batch, frames, width], between the product and the bias: ``Linear(m x) = m ? Linear(x) : b``. That
is a twentieth of the numbers, and the convolution's result goes to the product as it is.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult
from ...linear import MatMulLayer, matmul_layers, only_user
from ...rewrite import Patch, constant


@dataclasses.dataclass(frozen=True)
class FrameMask(InPlacePass):
    """Rewrites ``Linear(Reshape(Transpose(Mul(x, m))))`` with x [B, C, T, F] and m [B, 1, T, 1].

    Becomes ``Where(m, Linear(Reshape(Transpose(x))), bias)``. Lossless for finite x.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for layer in list(matmul_layers(model.graph)):
            flattened = flattened_frames(layer)
            node = None if flattened is None else flattened.value.producer()
            masked = None if node is None else masked_value(node)
            if flattened is None or masked is None or not _reads_alone(flattened):
                continue
            if layer.output.is_graph_output():
                journal.refuse(layer.id, "its result is an output of the model")
                continue
            if not is_of_frames(masked.mask):
                journal.refuse(layer.id, "its input's mask is not one of frames, [batch, 1, T, 1]")
                continue
            for user, index in list(flattened.value.uses()):
                user.replace_input_with(index, masked.value)
            _mask_result(layer, flattened, masked)
            journal.change(layer.id, "mask of frames moved behind the product")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


@dataclasses.dataclass(frozen=True)
class Masked:
    """What a node multiplies by one or zero.

    Attributes:
        value: What is masked.
        mask: Bool, true where it is kept.
    """

    value: ir.Value
    mask: ir.Value


def masked_value(node: ir.Node) -> Masked | None:
    """Reads ``Mul(x, Cast(mask))``, in either order; None where a node is something else."""
    if node.op_type != "Mul" or node.domain:
        return None
    for value, other in (tuple(node.inputs), tuple(reversed(node.inputs))):
        cast = other.producer() if other is not None else None
        if value is None or cast is None or cast.op_type != "Cast":
            continue
        mask = cast.inputs[0]
        if mask is not None and mask.dtype == ir.DataType.BOOL:
            return Masked(value, mask)
    return None


@dataclasses.dataclass(frozen=True)
class FlattenedFrames:
    """Frames of channels and mels as the rows of a linear layer's input.

    Attributes:
        value: [B, C, T, F] with known C and F.
        channels: C.
        mels: F.
        width: The layer's outputs.
        transpose: Brings the frames before the channels and mels.
    """

    value: ir.Value
    channels: int
    mels: int
    width: int
    transpose: ir.Node


def flattened_frames(layer: MatMulLayer) -> FlattenedFrames | None:
    """Reads the way of a linear layer's input back; None where it is another one.

    Whatever sizes the Reshape gives the axes before the last, its rows are the frames of one
    utterance after the other: only the last axis is known to be one row.
    """
    reshape = layer.input.producer()
    if reshape is None or reshape.op_type != "Reshape" or only_user(layer.input) is None:
        return None
    between = reshape.inputs[0]
    transpose = between.producer() if between is not None else None
    if between is None or only_user(between) is None:
        return None
    if transpose is None or transpose.op_type != "Transpose":
        return None
    value = transpose.inputs[0]
    if tuple(transpose.attributes.get_ints("perm", ())) not in ((0, 2, 1, 3), (0, 2, 3, 1)):
        return None
    weight, rows = constant(layer.weight), layer.input.shape
    if value is None or value.shape is None or weight is None or rows is None or len(rows) != 3:
        return None
    channels, mels = value.shape[1], value.shape[3]
    if not isinstance(channels, int) or not isinstance(mels, int):
        return None
    if channels * mels != weight.shape[0]:
        return None
    return FlattenedFrames(value, channels, mels, weight.shape[1], transpose)


def _reads_alone(flattened: FlattenedFrames) -> bool:
    """Whether all that is asked of the masked frames besides is their sizes."""
    value = flattened.value
    return not value.is_graph_output() and all(
        user is flattened.transpose or user.op_type == "Shape" for user in value.consumers()
    )


def is_of_frames(mask: ir.Value) -> bool:
    """Whether a mask is [batch, 1, frames, 1]."""
    shape = mask.shape
    return shape is not None and len(shape) == 4 and shape[1] == 1 and shape[3] == 1


def _mask_result(layer: MatMulLayer, flattened: FlattenedFrames, masked: Masked) -> None:
    """Puts a Where behind a layer, which the layer's users then read."""
    result = layer.output
    users = list(result.uses())
    name = f"{layer.node.name or result.name}.mask"
    patch = Patch(layer.add or layer.node, name, behind=True)
    frames = patch.op("Shape", masked.value)
    sizes = [patch.op("Gather", frames, patch.ints(axis), axis=0) for axis in (0, 2)]
    one = patch.ints(1)
    everywhere = patch.op("Concat", sizes[0], one, sizes[1], one, axis=0)
    rows = patch.op("Gather", patch.op("Shape", result), patch.ints(0, 1), axis=0)
    kept = patch.op(
        "Reshape",
        patch.op("Expand", masked.mask, everywhere),
        patch.op("Concat", rows, one, axis=0),
    )
    weight = constant(layer.weight)
    assert weight is not None, "asked for before"
    bias = layer.bias or patch.constant(np.zeros(flattened.width, weight.dtype), "zero")
    chosen = patch.op("Where", kept, result, bias)
    chosen.type, chosen.shape = result.type, result.shape
    for user, index in users:
        user.replace_input_with(index, chosen)

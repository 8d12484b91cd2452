"""Pointwise convolutions as matrix products.

A convolution of kernel 1 over [batch, channels, frames] is ``X Wᵀ + b`` for every frame. As MatMul
it gets the integer kernels, and the Transposes around it (exporters write one on either side)
cancel. A sixth of a Conformer's linear weights sit in such convolutions.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...rewrite import Patch, constant, replace_value

_SWAP = (0, 2, 1)


@dataclasses.dataclass(frozen=True)
class PointwiseConvToMatMul(InPlacePass):
    """Rewrites Conv of kernel 1, stride 1, one group to Transpose, MatMul, Add, Transpose.

    1. A Transpose that feeds the convolution is cancelled with the new one.
    2. Transposes that read the convolution are cancelled with the new one.

    Lossless up to the order of summation.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            if node.op_type != "Conv" or node.domain or not _kernel_is_one(node):
                continue
            reason = _why_not(node)
            if reason:
                journal.refuse(layer_of(node), reason)
            else:
                _rewrite(node)
                journal.change(layer_of(node), "pointwise convolution written as MatMul")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _kernel_is_one(node: ir.Node) -> bool:
    weight = constant(node.inputs[1])
    return weight is not None and all(size == 1 for size in weight.shape[2:])


def _why_not(node: ir.Node) -> str | None:
    """Why a convolution of kernel 1 is no matrix product of frames, or None."""
    weight = constant(node.inputs[1])
    assert weight is not None
    if weight.ndim != 3:
        return f"its input has {weight.ndim - 2} spatial axes; only [batch, channels, frames] is"
    if node.attributes.get_int("group", 1) != 1:
        return "it has several groups, so each output reads a part of the channels only"
    if any(stride != 1 for stride in node.attributes.get_ints("strides", [1])):
        return "its stride skips frames"
    if any(pad != 0 for pad in node.attributes.get_ints("pads", [0])):
        return "it pads frames, which then hold the bias alone"
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "its padding is automatic"
    return None


def _rewrite(node: ir.Node) -> None:
    weight = constant(node.inputs[1])
    assert weight is not None and node.inputs[0] is not None
    patch = Patch(node)
    frames_last = node.inputs[0]
    source = untransposed(frames_last)
    if source is None:
        source = patch.op("Transpose", frames_last, perm=_SWAP)
    matrix = patch.constant(np.ascontiguousarray(weight[:, :, 0].T), "weight")
    result = patch.op("MatMul", source, matrix)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        result = patch.op("Add", result, node.inputs[2])
    old = node.outputs[0]
    shape = old.shape
    result.type = old.type
    if shape is not None:
        result.shape = ir.Shape([shape[0], shape[2], shape[1]])
    for user in list(old.consumers()):
        if is_swap(user) and not user.outputs[0].is_graph_output():
            ir.convenience.replace_all_uses_with(user.outputs[0], result)
    replace_value(old, patch.op("Transpose", result, perm=_SWAP))


def is_swap(node: ir.Node | None) -> bool:
    """Whether a node exchanges the last two of three axes."""
    return (
        node is not None
        and node.op_type == "Transpose"
        and not node.domain
        and tuple(node.attributes.get_ints("perm", ())) == _SWAP
    )


def untransposed(value: ir.Value) -> ir.Value | None:
    """The value whose last two axes were exchanged to give this one, or None."""
    producer = value.producer()
    if producer is not None and is_swap(producer):
        return producer.inputs[0]
    return None

"""Zeros in front of a convolution, written as its own padding.

onnxscript's rule for it also joins them with pointwise convolutions, which are then no matrix
products of frames any more; here these keep their Pad.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...rewrite import constant, producer, scalar


@dataclasses.dataclass(frozen=True)
class PadIntoConv(InPlacePass):
    """Rewrites ``Conv(Pad(x, zeros))`` as a padded ``Conv(x)``, where its kernel sees neighbours.

    Lossless.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in model.graph:
            if node.op_type != "Conv" or node.domain:
                continue
            pad = producer(node.inputs[0], "Pad")
            pads = _spatial_zeros(pad) if pad is not None else None
            if pad is None or pads is None or not _sees_neighbours(node):
                continue
            own = node.attributes.get_ints("pads", [0] * len(pads))
            both = [a + b for a, b in zip(own, pads, strict=True)]
            node.attributes["pads"] = ir.AttrInt64s("pads", both)
            node.replace_input_with(0, pad.inputs[0])
            journal.change(layer_of(node), "zeros in front of a convolution are its padding")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _sees_neighbours(conv: ir.Node) -> bool:
    weight = constant(conv.inputs[1])
    automatic = conv.attributes.get_string("auto_pad", "NOTSET") != "NOTSET"
    return not automatic and weight is not None and any(size != 1 for size in weight.shape[2:])


def _spatial_zeros(pad: ir.Node) -> list[int] | None:
    """Zeros before and behind each spatial axis, None where a Pad writes anything else."""
    source, amounts, number, axes = (*pad.inputs, None, None)[:4]
    pads = constant(amounts)
    rank = len(source.shape) if source is not None and source.shape is not None else 0
    if pad.attributes.get_string("mode", "constant") != "constant" or pads is None or rank < 3:
        return None
    if number is not None and scalar(number) != 0:
        return None
    given = list(range(rank))
    if axes is not None:
        array = constant(axes)
        if array is None:
            return None
        given = [int(axis) % rank for axis in array]
    begins, ends = [0] * rank, [0] * rank
    for place, axis in enumerate(given):
        begins[axis], ends[axis] = int(pads[place]), int(pads[place + len(given)])
    if any((*begins[:2], *ends[:2])) or min(*begins, *ends) < 0:
        return None
    return [*begins[2:], *ends[2:]]

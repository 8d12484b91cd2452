"""Sizes of Expand without the question which of them are -1.

Torch's ``expand(batch, -1, frames, frames)`` leaves axes as they are where it says -1; ONNX says 1
there. TorchScript's exporter compares all sizes with -1 when the model runs, behind which shape
inference knows none of them. Which ones are -1 is plain: the constants among them, since sizes of
values are not negative.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...rewrite import Patch, constant, producer, replace_value

#: Operators that choose among sizes or give them another rank.
_MOVES = ("Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Identity", "Cast")


@dataclasses.dataclass(frozen=True)
class ExpandSizes(InPlacePass):
    """Rewrites ``Where(Equal(Concat(sizes), -1), 1, Concat(sizes))`` as the Concat of no -1.

    Lossless.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            sizes = _compared_sizes(node)
            parts = None if sizes is None else _without_minus_one(sizes)
            if parts is None:
                continue
            patch = Patch(node)
            values = [p if isinstance(p, ir.Value) else patch.ints(*p) for p in parts]
            replace_value(node.outputs[0], patch.op("Concat", *values, axis=0))
            journal.change(layer_of(node), "sizes that are -1 are 1")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _compared_sizes(node: ir.Node) -> ir.Node | None:
    """The Concat whose elements a Where compares with -1 and replaces by 1; None for others."""
    if node.op_type != "Where" or node.domain:
        return None
    equal, ones, sizes = producer(node.inputs[0], "Equal"), constant(node.inputs[1]), node.inputs[2]
    if equal is None or ones is None or sizes not in equal.inputs:
        return None
    compared = constant(next((v for v in equal.inputs if v is not sizes), None))
    if compared is None or not (ones == 1).all() or not (compared == -1).all():
        return None
    return _concatenated(sizes) if max(ones.ndim, compared.ndim) <= 1 else None


def _concatenated(sizes: ir.Value | None) -> ir.Node | None:
    """The Concat of a vector, which a Reshape to one axis leaves as it is."""
    reshape = producer(sizes, "Reshape")
    target = None if reshape is None else constant(reshape.inputs[1])
    if reshape is not None and target is not None and target.size == 1:
        sizes = reshape.inputs[0]
    return producer(sizes, "Concat")


def _without_minus_one(concat: ir.Node) -> Sequence[ir.Value | list[int]] | None:
    """The Concat's parts, constants as numbers; None where a computed one may be negative."""
    parts: list[ir.Value | list[int]] = []
    for value in concat.inputs:
        array = constant(value)
        if array is not None and array.dtype == np.int64:
            parts.append([1 if size == -1 else int(size) for size in array])
        elif value is not None and _is_size(value):
            parts.append(value)
        else:
            return None
    return parts


def _is_size(value: ir.Value) -> bool:
    """Whether integers are sizes of values, unchanged."""
    node = value.producer()
    while node is not None and node.op_type in _MOVES and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node is not None and node.op_type == "Shape"

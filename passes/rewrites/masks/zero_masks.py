"""Masks that write zeros, written as factors of ones and zeros.

ONNX Runtime chooses between a tensor and a scalar, element by element, at half the speed at which
it multiplies. The factor has the mask's few elements and is the same for all layers. But zero times
what is not finite is NaN: icefall and WeNet write -inf into masked scores, the Softmax of a row of
nothing else is NaN, and the mask behind it is there to write zeros over that.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...rewrite import Patch, constant, replace_value
from ...structure.graph import ELEMENTWISE_OPS, LAYOUT_OPS, data_inputs, is_product_of_activations


@dataclasses.dataclass(frozen=True)
class ZeroMasks(InPlacePass):
    """Rewrites ``Where(m, 0, x)`` and ``Where(m, x, 0)`` as ``Mul(x, factor)``.

    Only where the mask is smaller than x. Lossless for finite x.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        factors: dict[tuple[ir.Value, bool], ir.Value] = {}
        for node in list(model.graph):
            found = _masked(node)
            if found is None:
                continue
            if not _is_finite(found.value):
                journal.refuse(
                    layer_of(node),
                    "the mask keeps choosing: it covers what is computed from infinite numbers, "
                    "which a factor of zero would make NaN",
                )
                continue
            patch = Patch(node)
            key = (found.mask, found.keeps)
            if key not in factors:
                factors[key] = _factor(patch, found)
            replace_value(node.outputs[0], patch.op("Mul", found.value, factors[key]))
            journal.change(layer_of(node), "mask multiplies")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


@dataclasses.dataclass(frozen=True)
class _Masked:
    """What a Where keeps of a value.

    Attributes:
        value: float32.
        mask: Bool.
        keeps: Whether the mask is true where the value is kept.
    """

    value: ir.Value
    mask: ir.Value
    keeps: bool


def _masked(node: ir.Node) -> _Masked | None:
    if node.op_type != "Where" or node.domain:
        return None
    mask, first, second = node.inputs
    if mask is None or first is None or second is None:
        return None
    for value, zero, keeps in ((first, second, True), (second, first, False)):
        if value.dtype == ir.DataType.FLOAT and _is_zero(zero, value) and _is_smaller(mask, value):
            return _Masked(value, mask, keeps)
    return None


def _is_zero(zero: ir.Value, value: ir.Value) -> bool:
    """Whether a constant is one zero, and gives the result no axis that the value has not."""
    array = constant(zero)
    rank = None if value.shape is None else len(value.shape)
    return array is not None and not array.any() and array.size == 1 and array.ndim <= (rank or 0)


def _is_smaller(mask: ir.Value, value: ir.Value) -> bool:
    """Whether a mask is broadcast along an axis of a value that is longer than one."""
    small, large = mask.shape, value.shape
    if small is None or large is None or len(small) > len(large):
        return False
    padded = [1] * (len(large) - len(small)) + list(small)
    return any(mine == 1 and theirs != 1 for mine, theirs in zip(padded, large, strict=True))


def _is_finite(value: ir.Value) -> bool:
    """Whether no stored number that a value is computed from is infinite, as far as layers.

    Layers read numbers that are finite: others would spread to all frames in the next attention.
    """
    pending = [value]
    for current in pending:
        array, node = constant(current), current.producer()
        if array is not None:
            if not np.isfinite(array).all():
                return False
        elif node is not None and _is_between_layers(node):
            pending.extend(v for v in data_inputs(node) if v not in pending)
    return True


def _is_between_layers(node: ir.Node) -> bool:
    moves = node.op_type in ELEMENTWISE_OPS | LAYOUT_OPS | {"Softmax"}
    return moves or is_product_of_activations(node)


def _factor(patch: Patch, masked: _Masked) -> ir.Value:
    kept = masked.mask if masked.keeps else patch.op("Not", masked.mask)
    return patch.op("Cast", kept, to=int(ir.DataType.FLOAT))

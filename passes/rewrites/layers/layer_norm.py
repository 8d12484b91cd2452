"""Layer normalisation in nine nodes, written as the operator that opset 17 brought.

Exports of older opsets spell it out. ONNX Runtime puts it together again when it loads a model, but
no pass of ours sees one norm in nine nodes, and :mod:`...fuse.norms` none at all.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...linear import only_user
from ...rewrite import Patch, constant, replace_value, scalar
from ...structure.modules import Norm
from ...structure.norms import find_norms


@dataclasses.dataclass(frozen=True)
class LayerNorm(InPlacePass):
    """Rewrites ``c / Sqrt(mean(c · c) + eps) · weight + bias``, c = x - mean(x).

    It becomes ``LayerNormalization(x, weight, bias)`` where the means are over the last axis; one
    for each weight where several norms of one value share what is before it, ones where there is no
    weight. Lossless up to float arithmetic.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for norm in find_norms(model.graph):
            if norm.type != "layer" or len(norm.nodes) == 1:
                continue
            where = layer_of(norm.nodes[-1])
            scaled = _scaled(norm)
            if not all(_is_over_last_axis(n) for n in norm.nodes if n.op_type == "ReduceMean"):
                journal.refuse(where, "its norm stays spelled out: it is not over features alone")
                continue
            if not scaled:
                journal.refuse(where, "its norm stays spelled out: no vector scales or shifts it")
            for each in scaled:
                weight = each.weight or _ones(norm)
                if weight is None:
                    journal.refuse(where, "its norm stays spelled out: its width is not known")
                    continue
                _rewrite(norm, each, weight)
                journal.change(where, "norm in one operator")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


@dataclasses.dataclass(frozen=True)
class _Scaled:
    """What is made of a normalised value: its product with a weight, perhaps with a bias added.

    Without a weight, the normalised value itself.
    """

    output: ir.Value
    weight: ir.Value | None = None
    bias: ir.Value | None = None


def _scaled(norm: Norm) -> list[_Scaled]:
    if any(value is not None and len(value.shape or ()) != 1 for value in (norm.weight, norm.bias)):
        return []
    if norm.weight is not None or norm.bias is not None:
        return [_Scaled(norm.output, norm.weight, norm.bias)]
    found = []
    for product in norm.output.consumers():
        weight = _vector_beside(product, norm.output, "Mul")
        if weight is None:
            continue
        output = product.outputs[0]
        add = only_user(output)
        bias = _vector_beside(add, output, "Add") if add is not None else None
        end = output if add is None or bias is None else add.outputs[0]
        found.append(_Scaled(end, weight, bias))
    return found or [_Scaled(norm.output)]


def _vector_beside(node: ir.Node, value: ir.Value, op_type: str) -> ir.Value | None:
    """The constant vector that a node of an operator puts to a value."""
    if node.op_type != op_type or node.domain:
        return None
    other = next((v for v in node.inputs if v is not value), None)
    array = constant(other)
    return other if array is not None and array.ndim == 1 and array.size > 1 else None


def _is_over_last_axis(mean: ir.Node) -> bool:
    axes = constant(mean.inputs[1]) if len(mean.inputs) > 1 else None
    shape = mean.inputs[0].shape if mean.inputs[0] is not None else None
    last = (-1,) if shape is None else (-1, len(shape) - 1)
    return axes is not None and axes.size == 1 and int(axes.reshape(-1)[0]) in last


def _ones(norm: Norm) -> ir.Value | None:
    """A weight that changes nothing, None where the width is not known."""
    first = norm.nodes[0]
    shape = first.inputs[0].shape if first.inputs[0] is not None else None
    width = shape[-1] if shape else None
    if not isinstance(width, int):
        return None
    return Patch(first).shared(np.ones(width, np.float32), f"ones[{width}]")


def _rewrite(norm: Norm, scaled: _Scaled, weight: ir.Value) -> None:
    add = next(node for node in norm.nodes if node.op_type == "Add")
    epsilon = next(number for v in add.inputs if (number := scalar(v)) is not None)
    end = scaled.output.producer()
    assert end is not None, "a node computes it"
    # Not what was found: a norm before this one may have been rewritten since.
    source = norm.nodes[0].inputs[0]
    inputs = [source, weight, *([scaled.bias] if scaled.bias is not None else [])]
    patch = Patch(end, end.name)
    normed = patch.op("LayerNormalization", *inputs, axis=-1, epsilon=float(np.float32(epsilon)))
    replace_value(scaled.output, normed)

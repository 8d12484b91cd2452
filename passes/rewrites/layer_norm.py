"""Layer normalisation in nine nodes, written as the operator that opset 17 brought.

Exports of older opsets spell it out. ONNX Runtime puts it together again when it loads a model, but
no pass of ours sees one norm in nine nodes, and :mod:`..fuse.norms` none at all.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import InPlacePass, Journal, PassResult, layer_of
from ..rewrite import Patch, constant, replace_value, scalar
from ..structure.modules import Norm
from ..structure.norms import find_norms


@dataclasses.dataclass(frozen=True)
class LayerNorm(InPlacePass):
    """Rewrites ``c / Sqrt(mean(c · c) + eps) · weight + bias``, c = x - mean(x).

    It becomes ``LayerNormalization(x, weight, bias)`` where the means are over the last axis.
    Lossless up to float arithmetic.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for norm in find_norms(model.graph):
            if norm.type != "layer" or len(norm.nodes) == 1:
                continue
            where = layer_of(norm.nodes[-1])
            reason = _why_not(norm)
            if reason:
                journal.refuse(where, f"its norm stays spelled out: {reason}")
            else:
                _rewrite(norm)
                journal.change(where, "norm in one operator")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _why_not(norm: Norm) -> str | None:
    means = [node for node in norm.nodes if node.op_type == "ReduceMean"]
    if not all(_is_over_last_axis(node) for node in means):
        return "a mean of it is over more than the last axis"
    if norm.weight is None or len(norm.weight.shape or ()) != 1:
        return "it has no constant weight for every feature"
    if norm.bias is not None and len(norm.bias.shape or ()) != 1:
        return "its bias is no vector"
    return None


def _is_over_last_axis(mean: ir.Node) -> bool:
    axes = constant(mean.inputs[1]) if len(mean.inputs) > 1 else None
    shape = mean.inputs[0].shape if mean.inputs[0] is not None else None
    last = (-1,) if shape is None else (-1, len(shape) - 1)
    return axes is not None and axes.size == 1 and int(axes.reshape(-1)[0]) in last


def _rewrite(norm: Norm) -> None:
    add = next(node for node in norm.nodes if node.op_type == "Add")
    epsilon = next(number for v in add.inputs if (number := scalar(v)) is not None)
    patch = Patch(norm.nodes[-1], norm.nodes[0].name)
    inputs = [norm.input, norm.weight, *([norm.bias] if norm.bias is not None else [])]
    normed = patch.op("LayerNormalization", *inputs, axis=-1, epsilon=float(np.float32(epsilon)))
    replace_value(norm.output, normed)

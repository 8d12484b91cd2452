"""Self-attention with relative positions, from its projections to its context, in one operator.

Between the projections of a recognised module and its output projection exporters write some forty
nodes: heads split and turned, two products, a shift, scales, masks, the Softmax, a third product.
What RelPosAttention needs of them is read off; that the operator then computes the same is shown by
evaluating both.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import LAYER_KEY, InPlacePass, Journal, PassResult
from ..functions import define
from ..relpos_attention import (
    MOST_HEAD_SIZE,
    rel_pos_attention_function,
    rel_pos_attention_node,
)
from ..rewrite import Patch, replace_value
from ..structure import Kind, Module, Position, recognise
from .attention_parts import AttentionParts, Scores, Source, read_attention
from .attention_trial import AttentionTrial
from .region import NotFusedError, Region

#: Largest difference between the graph and the operator, both in float32 and of order 1.
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class FuseRelPosAttention(InPlacePass):
    """Self-attention modules with relative positions get ``confpress.v1.RelPosAttention``.

    Queries, keys and values may be packed in one projection, positions in one for several layers.
    Lossless up to float arithmetic: each module is evaluated before and after on small inputs.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for module in recognise(model).of_kind(Kind.SELF_ATTENTION):
            try:
                _fuse(model, module)
            except NotFusedError as error:
                journal.refuse(module.id, f"attention stays as it is: {error}")
            else:
                journal.change(module.id, "attention in one operator, RelPosAttention")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _fuse(model: ir.Model, module: Module) -> None:
    attention = module.attention
    if attention.position is not Position.RELATIVE:
        raise NotFusedError(
            f"its positions are of the kind '{attention.position}', and the operator takes "
            "projected relative ones"
        )
    if attention.head_size > MOST_HEAD_SIZE:
        raise NotFusedError(
            f"its heads have {attention.head_size} features, above {MOST_HEAD_SIZE}"
        )
    parts = read_attention(attention)
    patch = Patch(_first_user(model.graph, parts.context), f"{module.id}.attention")
    position = _position(patch, parts, attention.heads * attention.head_size)
    inputs = [
        *(source.value for source in parts.sources[:3]),
        position.value,
        patch.constant(parts.bias_u, "bias_u"),
        patch.constant(parts.bias_v, "bias_v"),
        _mask(patch, parts.scores),
    ]
    function = rel_pos_attention_function(model.opset_imports.get("", 1))
    columns = [source.column for source in (*parts.sources[:3], position)]
    shape = (attention.heads, attention.head_size)
    node = _proven(model.graph, parts, function, inputs, shape, columns)
    define(model, function)
    node.name = f"{patch.name}/RelPosAttention"
    node.metadata_props[LAYER_KEY] = module.id
    patch.graph.insert_before(patch.anchor, node)
    replace_value(parts.context, node.outputs[0])


def _proven(
    graph: ir.Graph,
    parts: AttentionParts,
    function: ir.Function,
    inputs: list[ir.Value],
    shape: tuple[int, int],
    columns: list[int],
) -> ir.Node:
    """The node that computes the module's context in all trials.

    Raises:
        NotFusedError: There is none.
    """
    given = [*(source.value for source in parts.sources), parts.scores.masked]
    region = Region(graph, [v for v in given if v is not None], parts.context)
    differences = []
    for uniform, shared in itertools.product((False, True), (True, False)):
        node = rel_pos_attention_node(
            inputs,
            shape=shape,
            columns=columns,
            scale=parts.scale,
            uniform=uniform,
        )
        difference = AttentionTrial(node, function, region, parts, shared).difference()
        if difference <= _TOLERANCE:
            return node
        differences.append(difference)
    raise NotFusedError(
        f"what it computes differs from the operator by {min(differences):.2g} in a trial"
    )


def _position(patch: Patch, parts: AttentionParts, width: int) -> Source:
    """Projected positions whose scores have the factor of the others."""
    source = parts.position
    if np.isclose(parts.position_factor, 1.0, rtol=1e-6):
        return source
    value = source.value
    if source.width != width:
        begin, end = patch.ints(source.column), patch.ints(source.column + width)
        value = patch.op("Slice", value, begin, end, patch.ints(2))
    factor = patch.constant(np.array(parts.position_factor, np.float32), "position_factor")
    return Source(patch.op("Mul", value, factor), width, 0, 1.0, None)


def _mask(patch: Patch, scores: Scores) -> ir.Value:
    if scores.masked is None:
        return patch.constant(np.zeros((1, 1, 1, 1), bool), "no_mask")
    if scores.masked.shape is None or len(scores.masked.shape) != 4 or scores.masked.shape[1] != 1:
        raise NotFusedError(
            "its mask is not known to have the axes [batch, 1, queries, keys]; run shape inference"
        )
    return patch.op("Not", scores.masked) if scores.inverted else scores.masked


def _first_user(graph: ir.Graph, value: ir.Value) -> ir.Node:
    users = set(value.consumers())
    return next(node for node in graph if node in users)

"""Self-attention, from its projections to its context, in one operator.

Between the projections of a recognised module and its output projection exporters write some forty
nodes: heads split and turned, products, the shift of relative positions, scales, biases, masks, the
Softmax, the product with the values. What RelPosAttention or, without products with positions,
DotProductAttention or BiasedAttention needs of them is read off; that the operator then computes
the same is shown by evaluating both. Rotary positions stay nodes: the operator reads queries and
keys that were turned. Frames may be cut into blocks that do not see each other: these are the
operator's batch.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import LAYER_KEY, InPlacePass, Journal, PassResult
from ..operators.attention import (
    BIASED,
    MOST_HEAD_SIZE,
    PLAIN,
    RELATIVE,
    attention_function,
    attention_node,
)
from ..operators.functions import define
from ..rewrite import Patch, constant, is_known, replace_value
from ..structure import ATTENDING, Module, SelfAttention, recognise
from .attention_parts import AttentionParts, PositionParts, Source, read_attention
from .attention_trial import AttentionTrial
from .region import NotFusedError, Region, unlike

#: Largest difference between the graph and the operator, both in float32 and of order 1.
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class FuseAttention(InPlacePass):
    """Modules get ``confpress.v1.RelPosAttention``, ``DotProductAttention`` or ``BiasedAttention``.

    Queries, keys and values may be packed in one projection, positions in one for several layers;
    keys and values may begin with those of earlier chunks.
    Lossless up to float arithmetic: each module is evaluated before and after on small inputs.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for module in recognise(model).of_kind(*ATTENDING):
            try:
                operator = _fuse(model, module)
            except NotFusedError as error:
                journal.refuse(module.id, f"attention stays as it is: {error}")
            else:
                journal.change(module.id, f"attention in one operator, {operator}")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _fuse(model: ir.Model, module: Module) -> str:
    """Replaces a module's attention and gives the operator's name."""
    attention = module.attention
    if attention.head_size > MOST_HEAD_SIZE:
        raise NotFusedError(
            f"its heads have {attention.head_size} features, above {MOST_HEAD_SIZE}"
        )
    parts = read_attention(attention)
    if any(source.value.dtype not in (None, ir.DataType.FLOAT) for source in parts.sources):
        raise NotFusedError("it is not in float32, as the operator is")
    patch = Patch(_first_user(model.graph, parts.context), f"{module.id}.attention")
    shape = (attention.heads, attention.head_size)
    read = _laid_out(patch, parts.sources[:3])
    inputs = [source.value for source in read]
    if parts.positions is not None:
        read.append(_position(patch, parts.positions, read[0].value, read[1].value))
        inputs += [
            read[-1].value,
            patch.constant(parts.bias, "bias_u"),
            patch.constant(parts.positions.bias, "bias_v"),
        ]
    if parts.scores.summand is not None:
        inputs.append(_bias(parts.scores.summand))
    inputs.append(_mask(patch, parts))
    without = PLAIN if parts.scores.summand is None else BIASED
    operator = without if parts.positions is None else RELATIVE
    function = attention_function(operator, model.opset_imports.get("", 1))
    columns = [source.column for source in read]
    cuts: list[ir.Value | None] = [None]
    if _may_have_more_distances(attention, parts):
        cuts = [_needed_distances(patch, inputs), None]
    node = _proven(patch, parts, function, inputs, shape, columns, cuts)
    define(model, function)
    node.name = f"{patch.name}/{operator}"
    node.metadata_props[LAYER_KEY] = module.id
    context = node.outputs[0]
    if parts.block is not None:
        context = patch.op("Reshape", context, patch.ints(0, 0, *shape))
    if parts.time_first:
        context = patch.op("Transpose", context, perm=[1, 0, 2])
    if parts.context.shape is not None and len(parts.context.shape) == 2:
        context = patch.op("Squeeze", context, patch.ints(0))
    replace_value(parts.context, context)
    return operator


def _proven(
    patch: Patch,
    parts: AttentionParts,
    function: ir.Function,
    inputs: list[ir.Value],
    shape: tuple[int, int],
    columns: list[int],
    cuts: Sequence[ir.Value | None],
) -> ir.Node:
    """The node that computes the module's context in all trials.

    It reads the first of some cuts of its positions with which it does, or all where that is None.

    Raises:
        NotFusedError: There is none.
    """
    scores = parts.scores
    given = [*(source.value for source in parts.sources), scores.masked, scores.summand]
    region = Region(patch.graph, [v for v in given if v is not None], parts.context)
    differences = []
    for cut, uniform, shared in itertools.product(cuts, (False, True), (True, False)):
        node = attention_node(
            inputs if cut is None else [*inputs[:3], cut, *inputs[4:]],
            shape=shape,
            columns=columns,
            scale=parts.scale,
            uniform=uniform,
        )
        # In the graph a refused node is an unused one, and goes with all that only it reads.
        patch.graph.insert_before(patch.anchor, node)
        uncut = None if cut is None else inputs[3]
        difference = AttentionTrial(node, function, region, parts, shared, uncut).difference()
        if difference <= _TOLERANCE:
            return node
        differences.append(difference)
    least = min(differences)
    table = (
        ": relative positions are one for each of queries + keys - 1 distances, shifted"
        if np.isinf(least) and parts.positions is not None
        else ""
    )
    raise NotFusedError(f"{unlike(least)}{table}")


def _laid_out(patch: Patch, sources: Sequence[Source]) -> list[Source]:
    """Sources with their frames as rows; a value that holds several is laid out once."""
    each = {source.value: source for source in sources}
    rows = {value: _rows(patch, source) for value, source in each.items()}
    return [dataclasses.replace(source, value=rows[source.value]) for source in sources]


def _rows(patch: Patch, source: Source) -> ir.Value:
    """[batch, frames, width] of a source."""
    if source.time_first:
        return patch.op("Transpose", source.value, perm=[1, 0, 2])
    value = source.value
    if source.unbatched:
        return patch.op("Unsqueeze", value, patch.ints(0))
    if source.by_head:
        value = patch.op("Transpose", value, perm=[0, 2, 1, 3])
    if source.by_head or source.block is not None:
        value = patch.op("Reshape", value, patch.ints(0, 0, source.width))
    return value


def _position(patch: Patch, positions: PositionParts, queries: ir.Value, keys: ir.Value) -> Source:
    """Positions by distance whose scores have the factor of the others."""
    source = positions.source
    if positions.distances is not None:
        vectors = positions.distances.vectors(patch, queries, keys)
        source = dataclasses.replace(source, value=vectors)
    elif source.unbatched:
        batch = patch.op("Unsqueeze", source.value, patch.ints(0))
        source = dataclasses.replace(source, value=batch)
    if np.isclose(positions.factor, 1.0, rtol=1e-6):
        return source
    if (stored := constant(source.value)) is not None:
        rows = patch.constant(stored * np.float32(positions.factor), "positions")
        return dataclasses.replace(source, value=rows)
    value, width = source.value, positions.width
    if source.width != width:
        begin, end = patch.ints(source.column), patch.ints(source.column + width)
        value = patch.op("Slice", value, begin, end, patch.ints(2))
    factor = patch.constant(np.array(positions.factor, np.float32), "position_factor")
    return Source(patch.op("Mul", value, factor), width, 0, 1.0, None)


def _may_have_more_distances(attention: SelfAttention, parts: AttentionParts) -> bool:
    """Whether keys may begin with those of earlier chunks, and positions are not made for them."""
    if parts.positions is None or parts.positions.distances is not None:
        return False
    return parts.key.cached or attention.key.input is not attention.query.input


def _needed_distances(patch: Patch, inputs: Sequence[ir.Value]) -> ir.Value:
    """Positions without distances beyond the first queries + keys - 1.

    NeMo has 2 keys - 1 distances also where there are fewer queries.
    """
    queries, keys, _, positions, *_ = inputs
    counts = [patch.op("Shape", value, start=1, end=2) for value in (queries, keys)]
    end = patch.op("Sub", patch.op("Add", *counts), patch.ints(1))
    return patch.op("Slice", positions, patch.ints(0), end, patch.ints(1))


def _bias(summand: ir.Value) -> ir.Value:
    if summand.shape is None or len(summand.shape) != 4 or summand.shape[3] == 1:
        raise NotFusedError(
            "what is added to its scores is not known to have the axes [batch, heads, queries, "
            "keys]; run shape inference"
        )
    return summand


def _mask(patch: Patch, parts: AttentionParts) -> ir.Value:
    mask = parts.scores.masked
    if mask is None:
        return patch.constant(np.zeros((1, 1, 1, 1), bool), "no_mask")
    axes = () if mask.shape is None else mask.shape.dims
    if len(axes) == 2 and is_known(axes[0]) and axes[0] == parts.batch:
        mask = patch.op("Unsqueeze", mask, patch.ints(1, 2))
    elif len(axes) != 4 or axes[1] != 1:
        raise NotFusedError(
            "its mask is not known to have the axes [batch, 1, queries, keys] or [batch, keys]; "
            "run shape inference"
        )
    return patch.op("Not", mask) if parts.scores.inverted else mask


def _first_user(graph: ir.Graph, value: ir.Value) -> ir.Node:
    users = set(value.consumers())
    return next(node for node in graph if node in users)

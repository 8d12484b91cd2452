"""What the operators need of a recognised attention module, read off the ways between products.

The readings are the simplest that could be right: whether the operator then computes what the graph
computes is shown by :mod:`attention_trial`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from ..lower.qdq import dynamic_source
from ..rewrite import constant, is_known, scalar
from ..structure import Position, SelfAttention
from ..structure.scores import LAYOUT, above, averaging_product, score_products
from .distances import (
    Distances,
    StoredDistances,
    StoredProjections,
    read_distances,
    read_projections,
)
from .region import Array, NotFusedError

#: A mask's fill is at most this: exp of it, less any score, is zero.
_LARGEST_FILL = -9e3


@dataclasses.dataclass(frozen=True)
class Source:
    """Where an operand of a product comes from.

    Attributes:
        value: The projection's result, perhaps packed with others; or what was made of it
            (rotated, put behind a cache), [batch, frames, width] or [batch, heads, frames, size];
            or frames cut into blocks, each an item of the batch, [blocks, frames, heads, size];
            or positions without a batch, [distances, width], or the frames of a batch of one.
        width: Its width.
        column: Its first column there.
        scale: Product of the factors on the way.
        bias: What is added on the way, if anything.
        block: Frames of a block, where they are cut into blocks.
        time_first: Whether it is [frames, batch, width], as in torch's nn.MultiheadAttention and in
            icefall.
    """

    value: ir.Value
    width: int
    column: int
    scale: float
    bias: Array | None
    block: int | None = None
    time_first: bool = False

    @property
    def by_head(self) -> bool:
        """Whether it lies head by head."""
        return self.block is None and self.value.shape is not None and len(self.value.shape) == 4

    @property
    def frames(self) -> int | None:
        """How many frames there are, of a block where there are blocks; None where that varies."""
        if self.block is not None or self.value.shape is None:
            return self.block
        first = self.time_first or self.unbatched
        frames = self.value.shape[2 if self.by_head else int(not first)]
        return frames if isinstance(frames, int) else None

    @property
    def unbatched(self) -> bool:
        """Whether it is one table for all items, or frames of the only one."""
        return self.value.shape is not None and len(self.value.shape) == 2

    @property
    def cached(self) -> bool:
        """Whether it begins with what earlier chunks left."""
        producer = self.value.producer()
        if producer is not None and producer.op_type == "Add":  # positions of keys
            first = producer.inputs[0]
            producer = first.producer() if first is not None else None
        return producer is not None and producer.op_type == "Concat"


@dataclasses.dataclass(frozen=True)
class Scores:
    """What happens between the product of queries and keys and the product with the values.

    Attributes:
        masked: Where the keys of a query do not count, as the graph has it.
        inverted: Whether the graph's condition says which ones do.
        scale: Product of the factors of the scores of queries and keys.
        summand: What is added to them then, by position or otherwise, if anything.
    """

    masked: ir.Value | None
    inverted: bool
    scale: float
    summand: ir.Value | None


@dataclasses.dataclass(frozen=True)
class PositionParts:
    """What relative positions add.

    Attributes:
        source: Projected positions, or the vectors of all pairs of frames.
        distances: How the vectors of distances are had where `source` does not hold them.
        factor: What their scores are multiplied with, over the factor of the others.
        bias: Of the queries that meet them, float32 [H, dh].
    """

    source: Source
    distances: Distances | StoredDistances | StoredProjections | None
    factor: float
    bias: Array

    @property
    def by_pair(self) -> bool:
        """Whether there are vectors of all pairs of frames, which all heads share."""
        return self.distances is not None and self.distances.by_pair

    @property
    def width(self) -> int:
        """Features that the operator reads: of all heads, or of one that all share."""
        return self.bias.shape[1] if self.by_pair else self.bias.size


@dataclasses.dataclass(frozen=True)
class AttentionParts:
    """All that the operator is told.

    Attributes:
        query: Queries that meet keys.
        key: Keys.
        value: Values.
        bias: Of the queries that meet keys, float32 [H, dh].
        positions: Relative positions, if there are any.
        scores: Scale and mask.
        context: The result, [batch, queries, H · dh], or [blocks, queries, H, dh] of blocks, or
            [queries, batch, H · dh] where projections are time first, or [queries, H · dh] of the
            only item.
    """

    query: Source
    key: Source
    value: Source
    bias: Array
    positions: PositionParts | None
    scores: Scores
    context: ir.Value

    @property
    def sources(self) -> tuple[Source, ...]:
        """Queries, keys, values and, where there are any, positions."""
        projections = self.query, self.key, self.value
        return projections if self.positions is None else (*projections, self.positions.source)

    @property
    def block(self) -> int | None:
        """Frames of a block, where frames are cut into blocks that do not see each other."""
        return self.query.block

    @property
    def time_first(self) -> bool:
        """Whether frames are the first axis of projections and context, and items the second."""
        return self.query.time_first

    @property
    def batch(self) -> int | ir.SymbolicDim | None:
        """The size of the batch or its name; None of blocks, which are items themselves."""
        shape = self.query.value.shape
        if shape is None or self.block is not None:
            return None
        if self.query.unbatched:
            return 1
        return shape[1 if self.time_first else 0]

    @property
    def scale(self) -> float:
        """Factor of the scores of queries and keys."""
        return self.scores.scale * self.query.scale * self.key.scale


def read_attention(attention: SelfAttention) -> AttentionParts:
    """Reads the parts of a module with relative positions or without any.

    Raises:
        NotFusedError: The module is built in a manner that no operator can express.
    """
    table = _position_table(attention)
    layers = (attention.query, attention.key, attention.value)
    ends = {layer.output: layer.out_features for layer in layers}
    shape = (attention.heads, attention.head_size)
    content, by_position = _score_products(attention.softmax, table.value if table else None)
    operands = *content.inputs, _averaged(attention.softmax)
    query, key, value = (_source(operand, ends, shape) for operand in operands)
    if _is_time_first(query, content):
        query, key, value = (
            dataclasses.replace(source, time_first=True) for source in (query, key, value)
        )
    if query.block != key.block or key.block != value.block:
        raise NotFusedError("its queries, keys and values are not cut into the same blocks")
    scores = _scores(content, attention.softmax, biased=table is None)
    by_content = scores.scale * query.scale * key.scale
    if by_content == 0:
        raise NotFusedError("its scores are multiplied by zero")
    positions = None
    if table is not None and by_position is not None:
        queries = _source(by_position.inputs[0], ends, shape)
        source = _source(by_position.inputs[1], {table.value: table.width}, shape)
        factor = _factor(by_position, attention.softmax) * queries.scale * source.scale
        positions = PositionParts(
            source,
            _distances(attention, table.value),
            factor / by_content,
            _bias(queries, shape),
        )
    elif query.bias is not None:
        raise NotFusedError("a bias of its own is added to its queries")
    return AttentionParts(
        query=query,
        key=key,
        value=value,
        bias=_bias(query, shape),
        positions=positions,
        scores=scores,
        context=_context(attention, query.block),
    )


def _is_time_first(query: Source, content: ir.Node) -> bool:
    """Whether the first axis of the queries is that of the rows of their scores."""
    queries, scores = query.value.shape, content.outputs[0].shape
    if queries is None or scores is None or len(queries) != 3 or len(scores) < 3:
        return False
    return is_known(queries[0]) and queries[0] == scores[-2] != queries[1]


def _context(attention: SelfAttention, block: int | None) -> ir.Value:
    """What the output projection reads; of blocks what they are before they are joined."""
    context = dynamic_source(attention.out.input) or attention.out.input
    if block is None:
        return context
    while (node := context.producer()) is not None and node.op_type in ("Slice", "Reshape"):
        before = node.inputs[0]
        assert before is not None, "what is cut or reshaped"
        context = before
    return context


def _position_table(attention: SelfAttention) -> Source | None:
    """What queries meet beside keys, if anything."""
    if attention.position is Position.SHAW:
        return Source(attention.position_values[0], attention.head_size, 0, 1.0, None)
    if attention.position is not Position.RELATIVE:
        return None
    layer, width = attention.position_layer, attention.heads * attention.head_size
    columns = width if layer is None else layer.out_features
    return Source(attention.relative_positions, columns, 0, 1.0, None)


def _distances(
    attention: SelfAttention, table: ir.Value
) -> Distances | StoredDistances | StoredProjections | None:
    """How vectors of distances are had of a table; None where a layer gives them."""
    if attention.position is Position.SHAW:
        return read_distances(table)
    if attention.position_layer is None:
        return read_projections(table, (attention.heads, attention.head_size))
    return None


def _score_products(softmax: ir.Node, position: ir.Value | None) -> tuple[ir.Node, ir.Node | None]:
    """The products of queries with keys and, if there are any, positions that reach the Softmax."""
    content, by_position = score_products(softmax, position)
    if len(content) != 1 or len(by_position) != (position is not None):
        raise NotFusedError(
            "its scores are no sum of one product with keys and, if it has relative positions, "
            "one with these, each with the queries on the left"
        )
    return content[0], by_position[0] if by_position else None


def _averaged(softmax: ir.Node) -> ir.Value | None:
    product = averaging_product(softmax)
    if product is None:
        raise NotFusedError("no product of its probabilities with the values was found")
    return product.inputs[1]


def _source(value: ir.Value | None, ends: Mapping[ir.Value, int], shape: tuple[int, int]) -> Source:
    """Walks from an operand back to a projection, or to what is no longer one."""
    scale, bias = 1.0, None
    while value is not None and value not in ends:
        node = value.producer()
        if node is None:
            break
        if node.op_type == "Split" and node.inputs[0] in ends:
            return _part_of_split(value, node, ends, scale, bias)
        if node.op_type in ("Mul", "Div", "Add"):
            left, right = node.inputs
            other = right if constant(right) is not None else left
            array = constant(other)
            if array is None:
                break
            if node.op_type == "Add":
                if bias is not None:
                    break
                bias = array
            elif array.size == 1:
                number = float(array.reshape(-1)[0])
                factor = number if node.op_type == "Mul" else 1 / number
                scale *= factor
                bias = None if bias is None else bias / np.float32(factor)
            else:
                break
            value = left if other is right else right
        elif (block := _block(node, shape)) is not None:
            return Source(value, shape[0] * shape[1], 0, scale, bias, block)
        elif node.op_type in LAYOUT:
            value = node.inputs[0]
        else:
            break
    if value is not None and value in ends:
        return Source(value, ends[value], 0, scale, bias)
    if value is None or value.shape is None or len(value.shape) not in (3, 4):
        raise NotFusedError("the shape of an operand of its products is not known")
    heads, size = shape
    if value.shape[-1] != (size if len(value.shape) == 4 else heads * size):
        raise NotFusedError(
            f"an operand of its products, '{value.name}', is neither a projection nor frames of "
            f"{heads} heads of {size} features"
        )
    return Source(value, heads * size, 0, scale, bias)


def _block(node: ir.Node, shape: tuple[int, int]) -> int | None:
    """Frames of a block, if a Reshape cuts frames of all heads into [blocks, frames, heads, -1]."""
    if node.op_type != "Reshape" or node.inputs[0] is None:
        return None
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if before is None or after is None or (len(before), len(after)) != (3, 4):
        return None
    frames = after[1]
    cut = isinstance(frames, int) and frames != before[1] and after[2] == shape[0]
    return frames if cut and isinstance(frames, int) else None


def _part_of_split(
    value: ir.Value,
    node: ir.Node,
    ends: Mapping[ir.Value, int],
    scale: float,
    bias: Array | None,
) -> Source:
    whole = node.inputs[0]
    sizes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if whole is None or whole not in ends or sizes is None:
        raise NotFusedError("its projections are packed in a manner that is not understood")
    index = value.index() or 0
    return Source(whole, ends[whole], int(sizes[:index].sum()), scale, bias)


def _scores(content: ir.Node, softmax: ir.Node, *, biased: bool) -> Scores:
    """The factors, the mask and perhaps a summand of the scores of queries and keys."""
    summand = _summand(content, softmax) if biased else None
    inside = set(above(summand))
    masks: dict[tuple[ir.Value, bool], None] = dict.fromkeys(
        mask
        for node in above(softmax.inputs[0])
        if node not in inside and (mask := _fill_mask(node)) is not None
    )
    scale = _factor(content, softmax)
    if len(masks) > 1:
        raise NotFusedError(f"{len(masks)} masks are applied to its scores; the operator takes one")
    masked, inverted = next(iter(masks), (None, False))
    return Scores(masked, inverted, scale, summand)


def _factor(product: ir.Node, softmax: ir.Node) -> float:
    """What a product is multiplied with on its way to the Softmax."""
    scale = 1.0
    for node, other in _way(product, softmax):
        if node.op_type in ("Mul", "Div"):
            number = scalar(other)
            if number is None:
                raise NotFusedError("its scores are scaled by more than one number")
            scale *= number if node.op_type == "Mul" else 1 / number
    return scale


def _summand(content: ir.Node, softmax: ir.Node) -> ir.Value | None:
    """What is added to scores on their way to the Softmax, beside a mask."""
    summands = [_unmasked(other) for node, other in _way(content, softmax) if node.op_type == "Add"]
    found = [value for value in summands if scalar(value) is None]
    if len(found) > 1:
        raise NotFusedError(f"{len(found)} values are added to its scores; an operator takes one")
    return found[0] if found else None


def _unmasked(value: ir.Value | None) -> ir.Value | None:
    """A value before a mask was written into it, and was laid out as scores are."""
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in LAYOUT and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    mask = _fill_mask(node) if node is not None else None
    if node is None or mask is None:
        return value
    _, inverted = mask
    return node.inputs[1 if inverted else 2]


def _way(product: ir.Node, softmax: ir.Node) -> Iterator[tuple[ir.Node, ir.Value | None]]:
    """The nodes from a product to the Softmax, each with the first of its other inputs."""
    value = product.outputs[0]
    while True:
        users = [u for u in value.consumers() if u.op_type != "Shape"]
        if softmax in users:
            return
        if len(users) != 1:
            raise NotFusedError("its scores are used by more than its Softmax")
        node = users[0]
        yield node, next((v for v in node.inputs if v is not value), None)
        value = node.outputs[0]


def _fill_mask(node: ir.Node) -> tuple[ir.Value, bool] | None:
    """The condition of a Where that writes a large negative number, and if it is inverted."""
    if node.op_type != "Where":
        return None
    condition, yes, no = node.inputs
    assert condition is not None
    for fill, inverted in ((scalar(yes), False), (scalar(no), True)):
        if fill is not None and fill <= _LARGEST_FILL:
            return condition, inverted
    return None


def _bias(source: Source, shape: tuple[int, int]) -> Array:
    """The bias of the queries before their scale, float32 [H, dh]."""
    if source.bias is None:
        return np.zeros(shape, np.float32)
    array = source.bias
    if array.size == shape[0] * shape[1]:
        return np.ascontiguousarray(array.reshape(shape), np.float32)
    if array.size in (1, shape[1]):
        return np.ascontiguousarray(np.broadcast_to(array.reshape(-1), shape), np.float32)
    raise NotFusedError("what is added to its queries is no bias of every head")

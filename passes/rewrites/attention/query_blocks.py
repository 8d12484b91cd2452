"""Attention block by block of queries, in standard operators.

Scores of all queries, [batch, heads, T, T], are the largest tensors of a Conformer and fit no near
memory; each node between their product and the product with the values reads and writes all of
them. Some rows at a time stay near. And a block of queries meets fewer relative positions: R rows
T + R - 1 distances, where all T rows meet 2T - 1, half of which the relative shift throws away.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult
from ...fuse.region import Array, NotFusedError, Region
from ...rewrite import Patch, constant, replace_value
from ...structure import ATTENDING, Module, Position, SelfAttention, recognise
from ...structure.scores import averaging_product, score_products

#: Shape takes a part of the axes from this opset on.
_LEAST_OPSET = 15
#: Positions that come as vectors of queries, keys or distances.
_POSITIONS = (Position.RELATIVE, Position.KEY, Position.ROTARY, Position.NONE)
#: Types of the arrays of a trial, and of values that have none yet.
_TRIED = (ir.DataType.FLOAT, ir.DataType.BOOL, None)
#: Frames of a trial, a number that leaves unequal blocks, and the largest difference of values of
#: order 1.
_FRAMES = 7
_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class QueryBlocks(InPlacePass):
    """The nodes from scores to context are written once for every block of queries.

    Lossless: every row is computed as before. Each spelling of attention is evaluated before and
    after on small inputs. Sizes are computed once for modules that read one table of positions.

    Attributes:
        blocks: How many; more make nodes, fewer leave larger tensors.
    """

    blocks: int = 4

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        if model.opset_imports.get("", 1) < _LEAST_OPSET:
            journal.refuse("model", f"sizes are asked for with opset {_LEAST_OPSET} or newer")
            return journal.result(model)
        proven: set[Hashable] = set()
        known: dict[Hashable, list[ir.Value]] = {}
        for module in recognise(model).of_kind(*ATTENDING):
            before = set(model.graph)
            try:
                spelling = self._rewrite(model.graph, module, proven)
            except NotFusedError as error:
                journal.refuse(module.id, f"its queries stay together: {error}")
            else:
                journal.change(module.id, f"scores of {self.blocks} blocks of queries in turn")
                sizes = _sizes(node for node in model.graph if node not in before)
                _share(sizes, known, (spelling, *_one_length(module.attention)))
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)

    def _rewrite(self, graph: ir.Graph, module: Module, proven: set[Hashable]) -> Hashable:
        scores = _read(graph, module.attention)
        context = scores.averaging.outputs[0]
        patch = Patch(scores.averaging, f"{module.id}.attention")
        parts = [
            _block(patch, scores, place, rows)
            for place, rows in enumerate(_blocks(patch, scores.queries, self.blocks))
        ]
        whole = patch.op("Concat", *parts, axis=-2)
        whole.type, whole.shape = context.type, context.shape
        spelling = scores.spelling()
        if spelling not in proven and not _are_equal(graph, scores.trial(), context, whole):
            raise NotFusedError("block by block it computes something else in a trial")
        proven.add(spelling)
        replace_value(context, whole)
        return spelling, scores.perhaps_one_row


def _sizes(nodes: Iterable[ir.Node]) -> list[ir.Value]:
    """What nodes compute from sizes and constants alone."""
    found: dict[ir.Value | None, None] = {}
    for node in nodes:
        told = [v for v in node.inputs if v is not None and constant(v) is None]
        if node.op_type == "Shape" or (told and all(v in found for v in told)):
            found.update(dict.fromkeys(node.outputs))
    return [value for value in found if value is not None]


def _one_length(attention: SelfAttention) -> tuple[Hashable, ...]:
    """Equal for modules whose sizes are: one table of positions has one number of frames."""
    table = attention.position_values or (attention.softmax,)
    return (attention.heads, attention.head_size, *table)


def _share(sizes: list[ir.Value], known: dict[Hashable, list[ir.Value]], key: Hashable) -> None:
    """Computes sizes once for modules in which they are the same, in the same order."""
    for old, first in zip(sizes, known.setdefault(key, sizes), strict=True):
        if old is not first:
            replace_value(old, first)


def _are_equal(
    graph: ir.Graph, arrays: Mapping[ir.Value, Array], old: ir.Value, new: ir.Value
) -> bool:
    try:
        expected = Region(graph, arrays, old).evaluate(arrays)
    except ValueError as error:
        raise NotFusedError(
            "its products do not have the sizes of queries, keys and distances"
        ) from error
    try:
        found = Region(graph, arrays, new).evaluate(arrays)
    except ValueError:  # the sizes do not fit
        return False
    return expected.shape == found.shape and np.abs(expected - found).max() <= _TOLERANCE


@dataclasses.dataclass(frozen=True)
class _Rows:
    """A block of queries: the first, the one behind the last, and how many there are in all."""

    begin: ir.Value
    end: ir.Value
    all: ir.Value


@dataclasses.dataclass(frozen=True)
class _Scores:
    """What lies between the operands of the scores and the context.

    Attributes:
        content: Product of queries and keys.
        position: Product of queries and positions, if there is one.
        averaging: Product of probabilities and values.
        nodes: All nodes from the products to ``averaging``, in graph order.
        outside: What they read, apart from constants and the products' operands.
    """

    content: ir.Node
    position: ir.Node | None
    averaging: ir.Node
    nodes: tuple[ir.Node, ...]
    outside: tuple[ir.Value, ...]

    @property
    def queries(self) -> ir.Value:
        """[batch, heads, T, size]."""
        return _operands(self.content)[0]

    def sliced(self, patch: Patch, rows: _Rows) -> Iterator[tuple[ir.Value, ir.Value]]:
        """What a block reads instead of what all rows read."""
        for product in (self.content, self.position):
            if product is not None:
                left = _operands(product)[0]
                yield left, _slice(patch, left, rows.begin, rows.end, axis=2)
        if self.position is not None:
            table = _operands(self.position)[1]
            # Counted by queries and keys: what tells sizes to all layers would otherwise be the
            # table of the first one.
            keys = patch.op("Shape", _operands(self.content)[1], start=3, end=4)
            begin = patch.op("Sub", rows.all, rows.end)
            before = patch.op("Sub", patch.op("Sub", rows.all, patch.ints(1)), rows.begin)
            end = patch.op("Add", before, keys)
            yield table, _slice(patch, table, begin, end, axis=3)
        for value in self._with_rows():
            begin = rows.begin
            if value in self.perhaps_one_row:
                last = patch.op("Sub", patch.op("Shape", value, start=2, end=3), patch.ints(1))
                begin = patch.op("Min", begin, last)
            yield value, _slice(patch, value, begin, rows.end, axis=2)

    def _with_rows(self) -> list[ir.Value]:
        """What masks scores or is added to them, where it is not known to have one row for all."""
        values = _operands(self.averaging)[1]
        return [v for v in self.outside if v is not values and _rows(v) != 1]

    @property
    def perhaps_one_row(self) -> tuple[ir.Value, ...]:
        """Of these, what has a size there that shapes tell nothing of: one or T."""
        known = _rows(self.queries)
        return tuple(
            v for v in self._with_rows() if not isinstance(rows := _rows(v), int) and rows != known
        )

    def spelling(self) -> Hashable:
        """Equal where the nodes and what connects them are: a trial of one serves all."""
        places: dict[ir.Value | None, tuple[int, int | None]] = {
            v: (i, v.index()) for i, node in enumerate(self.nodes) for v in node.outputs
        }
        others: dict[ir.Value | None, int] = {}
        return tuple(
            (
                node.op_type,
                tuple(f"{name}={each.value}" for name, each in node.attributes.items()),
                tuple(
                    places.get(v) or _integers(v) or others.setdefault(v, len(others))
                    for v in node.inputs
                ),
            )
            for node in self.nodes
        )

    def trial(self) -> dict[ir.Value, Array]:
        """Random arrays in place of what the nodes read, of two utterances where sizes are free."""
        generator = np.random.default_rng(0)
        sizes = (2, 1, _FRAMES, _FRAMES)
        arrays: dict[ir.Value, Array] = {}
        distances = None if self.position is None else _operands(self.position)[1]
        for value in (*self._operands(), *self.outside):
            assert value.shape is not None, "asked for before"
            shape = [
                size if isinstance(known, ir.SymbolicDim) else known
                for size, known in zip(sizes, value.shape, strict=True)
            ]
            if value is distances and not isinstance(value.shape[3], int):
                shape[3] = 2 * _FRAMES - 1
            array = generator.standard_normal(shape, np.float32)
            arrays[value] = array > 0 if value.dtype == ir.DataType.BOOL else array
        return arrays

    def _operands(self) -> list[ir.Value]:
        products = [p for p in (self.content, self.position) if p is not None]
        return [value for product in products for value in _operands(product)]


def _read(graph: ir.Graph, attention: SelfAttention) -> _Scores:
    """Finds the nodes of a module's scores.

    Raises:
        NotFusedError: They cannot be written for some rows alone.
    """
    softmax = attention.softmax
    if softmax.op_type != "Softmax":
        raise NotFusedError(f"its scores are inside one {softmax.op_type} node")
    if attention.position not in _POSITIONS:
        raise NotFusedError(
            f"positions of the kind '{attention.position}' are no vectors of frames"
        )
    relative = attention.position is Position.RELATIVE
    content, position = score_products(softmax, attention.relative_positions if relative else None)
    averaging = averaging_product(softmax)
    if len(content) != 1 or len(position) != relative or averaging is None:
        raise NotFusedError(
            "its scores are no sum of one product with keys and, if it has relative positions, one "
            "with these"
        )
    nodes = _between(graph, [*content, *position], averaging)
    inner = {value for node in nodes for value in node.outputs}
    operands = {v for product in (*content, *position) for v in product.inputs}
    outside = dict.fromkeys(
        v
        for node in nodes
        for v in node.inputs
        if v is not None and v not in inner | operands and constant(v) is None
    )
    for value in (*operands, *outside):
        if value is None or value.shape is None or len(value.shape) != 4:
            name = None if value is None else value.name
            raise NotFusedError(f"'{name}' is not known to have four axes; run shape inference")
        if value.dtype not in _TRIED:
            raise NotFusedError(f"'{value.name}' is neither float32 nor a mask, as trials are")
    if any(set(v.consumers()) - set(nodes) for v in inner - {averaging.outputs[0]}):
        raise NotFusedError("its scores or probabilities are read elsewhere")
    return _Scores(
        content[0], position[0] if position else None, averaging, tuple(nodes), tuple(outside)
    )


def _between(graph: ir.Graph, first: list[ir.Node], last: ir.Node) -> list[ir.Node]:
    """The nodes on the ways from some nodes to another, these included, in graph order."""
    after = set(first)
    for node in graph:
        if any(v is not None and v.producer() in after for v in node.inputs):
            after.add(node)
        if node is last:
            break
    found, pending = set[ir.Node](), [last]
    while pending:
        node = pending.pop()
        if node in after and node not in found:
            found.add(node)
            pending.extend(p for v in node.inputs if v is not None and (p := v.producer()))
    return [node for node in graph if node in found]


def _operands(product: ir.Node) -> tuple[ir.Value, ir.Value]:
    left, right = product.inputs
    assert left is not None and right is not None, "a MatMul has two inputs"
    return left, right


def _integers(value: ir.Value | None) -> str | None:
    """A constant that tells sizes or places."""
    array = constant(value)
    return str(array.tolist()) if array is not None and array.dtype.kind == "i" else None


def _rows(value: ir.Value) -> int | ir.SymbolicDim:
    """The size of the axis of queries."""
    assert value.shape is not None, "asked for before"
    return value.shape[2]


def _blocks(patch: Patch, queries: ir.Value, count: int) -> Iterator[_Rows]:
    """Blocks of equal sizes but the last; empty ones where there are fewer queries."""
    frames = patch.op("Shape", queries, start=2, end=3)
    more = patch.op("Add", frames, patch.ints(count - 1))
    size = patch.op("Div", more, patch.ints(count))
    begin = patch.ints(0)
    for place in range(1, count + 1):
        end = frames
        if place < count:
            end = patch.op("Min", patch.op("Mul", size, patch.ints(place)), frames)
        yield _Rows(begin, end, frames)
        begin = end


def _slice(patch: Patch, value: ir.Value, begin: ir.Value, end: ir.Value, axis: int) -> ir.Value:
    result = patch.op("Slice", value, begin, end, patch.ints(axis))
    assert value.shape is not None, "asked for before"
    result.type = value.type
    result.shape = ir.Shape([None if i == axis else d for i, d in enumerate(value.shape)])
    return result


def _block(patch: Patch, scores: _Scores, place: int, rows: _Rows) -> ir.Value:
    """The context of a block of queries."""
    new: Mapping[ir.Value, ir.Value] = dict(scores.sliced(patch, rows))
    values = dict(new)
    for node in scores.nodes:
        copy = ir.Node(
            node.domain,
            node.op_type,
            [values.get(v, v) if v is not None else None for v in node.inputs],
            node.attributes.values(),
            num_outputs=len(node.outputs),
            name=f"{node.name}.block{place}" if node.name else None,
            metadata_props=dict(node.metadata_props),
        )
        for old, output in zip(node.outputs, copy.outputs, strict=True):
            output.name, output.type = f"{old.name}.block{place}", old.type
            values[old] = output
        patch.graph.insert_before(patch.anchor, copy)
    return values[scores.averaging.outputs[0]]

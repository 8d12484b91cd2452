"""Positions whose scores are not shifted, added to the keys.

Transformer-XL shifts the scores of queries and positions, so that what counts is the distance of
two frames. WeNet leaves the shift out: query i meets key j and position j of the same table, and

    (q_i + u) · k_j + (q_i + w) · p_j = (q_i + u) · (k_j + p_j) + (w - u) · p_j,

one product where there were two, with a number for every head and key, the same for all queries. u
goes into the bias of the queries' projection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult
from ...linear import only_reader, only_user
from ...rewrite import Patch, constant, producer, replace_value, scalar
from ...structure import ATTENDING, Position, SelfAttention, recognise
from ...structure.scores import score_products

#: Exchanges the last two of four axes: what turns keys by head for their product with queries.
_TURNED = (0, 1, 3, 2)
#: The same of keys and positions by frame.
_TURNED_FRAMES = (0, 2, 3, 1)
#: Puts heads before frames.
_BY_HEAD = (0, 2, 1, 3)


@dataclasses.dataclass(frozen=True)
class KeyPositions(InPlacePass):
    """Adds projected positions to the keys, where their scores are added as they are.

    Lossless up to float arithmetic.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for module in recognise(model).of_kind(*ATTENDING):
            found = _read(module.attention)
            if isinstance(found, str):
                journal.refuse(module.id, f"its positions stay a product of their own: {found}")
            elif found is not None:
                _rewrite(found, module.id)
                journal.change(module.id, "positions that are not shifted join the keys")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


@dataclasses.dataclass(frozen=True)
class _Unshifted:
    """The idiom.

    Attributes:
        attention: The module.
        total: The sum of both scores.
        scale: The node that multiplies the sum with a number, if there is one.
        content: Product of queries and keys.
        keys: Keys, [batch, frames, heads, size] or, behind a cache, [batch, heads, frames, size].
        keys_by_head: Whether they are the latter.
        positions: Positions, [1 or batch, frames, heads, size].
        query: Queries without bias, [batch, frames, heads, size].
        biases: u and w.
    """

    attention: SelfAttention
    total: ir.Node
    scale: ir.Node | None
    content: ir.Node
    keys: ir.Value
    keys_by_head: bool
    positions: ir.Value
    query: ir.Value
    biases: tuple[np.ndarray, np.ndarray]


def _read(attention: SelfAttention) -> _Unshifted | str | None:
    """The idiom, why it cannot be rewritten, or None where positions enter in another manner."""
    layer = attention.position_layer
    if attention.position is not Position.RELATIVE or layer is None:
        return None
    by_key, by_position = score_products(attention.softmax, layer.output)
    if len(by_key) != 1 or len(by_position) != 1:
        return None
    content, products = by_key[0], (by_key[0], by_position[0])
    total = only_user(content.outputs[0])
    if total is None or total.op_type != "Add" or total is not only_user(products[1].outputs[0]):
        return None  # something shifts them on the way
    left = [_biased_query(product.inputs[0], attention) for product in products]
    if left[0] is None or left[1] is None or left[0][0] is not left[1][0]:
        return "the queries of both products are not one projection with two biases"
    by_head = _turned_from(content.inputs[1], _TURNED)
    keys = by_head or _turned_from(content.inputs[1], _TURNED_FRAMES)
    positions = _turned_from(by_position[0].inputs[1], _TURNED_FRAMES)
    if keys is None or positions is None:
        return "its keys or positions are not turned as is usual"
    return _Unshifted(
        attention, total, _scaling(total), content, keys, by_head is not None, positions,
        left[0][0], (left[0][1], left[1][1]),
    )  # fmt: skip


def _biased_query(
    value: ir.Value | None, attention: SelfAttention
) -> tuple[ir.Value, np.ndarray] | None:
    """Queries [batch, frames, heads, size] that a bias is added to, and the bias [heads, size]."""
    turn = producer(value, "Transpose")
    if turn is None or tuple(turn.attributes.get_ints("perm", ())) != _BY_HEAD:
        return None
    shape = (attention.heads, attention.head_size)
    add = producer(turn.inputs[0], "Add")
    operands = tuple(add.inputs) if add is not None else ()
    for query, other in (operands, operands[::-1]) if add is not None else ():
        bias = constant(other)
        if bias is not None and bias.size == shape[0] * shape[1] and query is not None:
            return query, bias.reshape(shape)
    return None


def _turned_from(value: ir.Value | None, perm: tuple[int, ...]) -> ir.Value | None:
    turn = producer(value, "Transpose")
    if turn is None or tuple(turn.attributes.get_ints("perm", ())) != perm:
        return None
    source = turn.inputs[0]
    return source if source is not None and len(source.shape or ()) == 4 else None


def _scaling(total: ir.Node) -> ir.Node | None:
    """The Mul or Div by a number that alone reads the sum, next to what asks for its sizes."""
    node = only_reader(total.outputs[0])
    if node is None or node.op_type not in ("Mul", "Div"):
        return None
    place = 0 if node.op_type == "Div" or scalar(node.inputs[1]) is not None else 1
    by_number = scalar(node.inputs[1 - place]) is not None
    return node if by_number and node.inputs[place] is total.outputs[0] else None


def _rewrite(found: _Unshifted, name: str) -> None:
    u, w = found.biases
    number = _factor(found.scale)
    patch = Patch(found.content, f"{name}.key_positions")
    operands = patch.op("Transpose", _query(patch, found), perm=_BY_HEAD), _keys(patch, found)
    scores = patch.op("MatMul", *operands)
    for new, old in zip(
        (*operands, scores), (*found.content.inputs, found.content.outputs[0]), strict=True
    ):
        assert old is not None, "a MatMul has two inputs"
        new.type, new.shape = old.type, old.shape
    if number != 1:
        scores = patch.op("Mul", scores, patch.constant(np.array(number, u.dtype), "scale"))
    scores = patch.op("Add", scores, _bias(patch, found, (w - u) * u.dtype.type(number)))
    for node in (found.total, found.scale or found.total):
        replace_value(node.outputs[0], scores)


def _factor(scale: ir.Node | None) -> float:
    if scale is None:
        return 1.0
    number = next(n for v in scale.inputs if (n := scalar(v)) is not None)
    return number if scale.op_type == "Mul" else 1 / number


def _query(patch: Patch, found: _Unshifted) -> ir.Value:
    """Queries with u, in the bias of their projection where nothing else reads that."""
    u, _ = found.biases
    layer, query = found.attention.query, found.query
    split = producer(query, "Reshape")
    add = layer.output.producer()
    bias = constant(layer.bias)
    alone = only_reader(layer.output) is split and _ends_in(query, _products(found))
    if split is not None and add is not None and bias is not None and alone:
        place = next((i for i, v in enumerate(add.inputs) if v is layer.bias), None)
        if add.op_type == "Add" and place is not None:
            add.replace_input_with(place, patch.constant(bias + u.reshape(-1), "query_bias"))
            return query
    biased = patch.op("Add", query, patch.constant(u, "bias_u"))
    biased.type, biased.shape = query.type, query.shape
    return biased


def _products(found: _Unshifted) -> list[ir.Node | None]:
    """Of queries with keys and with positions."""
    return [value.producer() for value in found.total.inputs if value is not None]


def _ends_in(query: ir.Value, products: Collection[ir.Node | None]) -> bool:
    """Whether only some products read a query, behind a bias and another order of its axes."""
    readers = [node for node in query.consumers() if node.op_type != "Shape"]
    return not query.is_graph_output() and all(
        node in products
        or (node.op_type in ("Add", "Transpose") and _ends_in(node.outputs[0], products))
        for node in readers
    )


def _keys(patch: Patch, found: _Unshifted) -> ir.Value:
    """Keys and positions, [batch, heads, size, frames]."""
    keys, positions = found.keys, found.positions
    shape = (found.attention.heads, found.attention.head_size)
    if found.keys_by_head:
        by_head = patch.op("Transpose", positions, perm=_BY_HEAD)
        return patch.op("Transpose", _sum(patch, keys, by_head), perm=_TURNED)
    rows = [producer(value, "Reshape") for value in (keys, positions)]
    whole = [node.inputs[0] for node in rows if node is not None]
    if rows[0] is not None and all(_is_of_all_heads(v, shape) for v in whole) and len(whole) == 2:
        total = patch.op("Reshape", _sum(patch, whole[0], whole[1]), rows[0].inputs[1])
        total.type, total.shape = keys.type, keys.shape
    else:
        total = _sum(patch, keys, positions)
    return patch.op("Transpose", total, perm=_TURNED_FRAMES)


def _sum(patch: Patch, keys: ir.Value | None, positions: ir.Value | None) -> ir.Value:
    total = patch.op("Add", keys, positions)
    if keys is not None:
        total.type, total.shape = keys.type, keys.shape
    return total


def _is_of_all_heads(value: ir.Value | None, shape: tuple[int, int]) -> bool:
    sizes = value.shape if value is not None else None
    return sizes is not None and len(sizes) == 3 and sizes[2] == shape[0] * shape[1]


def _bias(patch: Patch, found: _Unshifted, vectors: np.ndarray) -> ir.Value:
    """A number for every head and position, [1 or batch, heads, 1, frames]."""
    product = patch.op("Mul", found.positions, patch.constant(vectors, "bias"))
    numbers = patch.op("ReduceSum", product, patch.ints(-1), keepdims=0)
    bias = patch.op("Unsqueeze", patch.op("Transpose", numbers, perm=(0, 2, 1)), patch.ints(2))
    assert found.positions.shape is not None, "asked for before"
    batch, frames, heads, _ = found.positions.shape
    bias.type, bias.shape = found.positions.type, ir.Shape([batch, heads, 1, frames])
    return bias

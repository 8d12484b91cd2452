"""How positions enter self-attention.

1. Relative (Transformer-XL): a product of queries and a table, usually projected by a layer
   (``linear_pos``), whose result is shifted: padded and reshaped, gathered, or sliced.
2. Shaw: a product of queries and a vector for every pair of frames; nothing is shifted.
3. Rotary: halves or pairs of features are swapped, one of them negated, and both are scaled by
   sines and cosines; in the projections or before them.
4. Bias: a number for every distance, looked up in a table, added to the scores.
5. Key: rows of a projected table are added to the keys.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from .branch import Branch, NotRecognisedError, Upstream, counted, upstream
from .graph import constant, data_consumers, data_inputs
from .modules import Linear, Position

_SHIFT_OPS = frozenset(("Pad", "Concat", "Slice", "Gather", "GatherElements"))
_MOVES = frozenset({
    "Unsqueeze", "Squeeze", "Transpose", "Reshape", "Expand", "Cast", "Identity", "Slice",
})  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Positions:
    """How positions enter: the manner, the table as it enters, the layer that projects it."""

    type: Position
    values: tuple[ir.Value, ...] = ()
    layer: Linear | None = None


def find_positions(
    branch: Branch,
    products: tuple[tuple[ir.Node, ir.Value], ...],
    added: Upstream,
    of_keys: Linear | None = None,
) -> Positions:
    """How positions enter a branch.

    Args:
        branch: The attention branch.
        products: Score products with a table, and their operand with the table.
        added: What computes the scores.
        of_keys: What projects positions that are added to the keys, if anything.

    Raises:
        NotRecognisedError: Positions enter in a manner that is not understood.
    """
    if len(products) > 1:
        raise NotRecognisedError(
            f"{counted(len(products), 'product')} of queries and tables of positions reach its "
            "Softmax; self-attention has one at most"
        )
    if products:
        return _from_product(branch, *products[0])
    if of_keys is not None:
        return Positions(Position.KEY, (of_keys.input,), of_keys)
    rotation = _rotation(branch)
    if rotation:
        return Positions(Position.ROTARY, rotation)
    if added.tables:
        return Positions(Position.BIAS, tuple(table.outputs[0] for table in added.tables))
    return Positions(Position.NONE)


def _from_product(branch: Branch, product: ir.Node, table: ir.Value) -> Positions:
    found = upstream(table, branch.products)
    if len(found.linears) > 1:
        names = ", ".join(layer.node.name or layer.node.op_type for layer in found.linears)
        raise NotRecognisedError(
            f"its positions come from {counted(len(found.linears), 'linear layer')} ({names}); "
            "relative attention projects one table with one"
        )
    if found.linears:
        layer = found.linears[0]
        return Positions(Position.RELATIVE, (layer.input,), layer)
    shifted = _is_shifted(branch, product)
    return Positions(Position.RELATIVE if shifted else Position.SHAW, (_root(table),))


def _is_shifted(branch: Branch, product: ir.Node) -> bool:
    """Whether the product's elements move along the last axis before they join other scores.

    A Reshape alone does not shift: products over frames are often flattened and unfolded again.
    """
    value = product.outputs[0]
    while True:
        users = [n for n in data_consumers(value) if n in branch]
        if len(users) != 1 or users[0].op_type in ("Softmax", "Where"):
            return False
        node = users[0]
        if node.op_type in _SHIFT_OPS:
            return True
        if node.op_type == "Add" and all(v in branch.flow for v in data_inputs(node)):
            return False
        value = node.outputs[0]


def _root(value: ir.Value) -> ir.Value:
    """The table before its axes were moved: what all layers share."""
    node = value.producer()
    while node is not None and node.op_type in _MOVES and constant(value) is None:
        before = node.inputs[0]
        if before is None:
            return value
        value = before
        node = value.producer()
    return value


def _rotation(branch: Branch) -> tuple[ir.Value, ...]:
    """The sines and cosines of a rotary embedding, as they enter the branch."""
    rotary = branch.of_type("RotaryEmbedding")
    if rotary:
        return tuple(dict.fromkeys(_root(v) for v in rotary[0].inputs[1:3] if v is not None))
    negated = branch.of_type("Neg")
    if not any(_meets_concat(branch, node) for node in negated):
        return ()
    tables = [
        _root(v)
        for node in branch.of_type("Mul")
        for v in data_inputs(node)
        if v not in branch.flow and _is_trigonometric(v)
    ]
    return tuple(dict.fromkeys(tables))


def _meets_concat(branch: Branch, node: ir.Node) -> bool:
    """Whether a node's result is put beside something, possibly after its axes were moved."""
    value = node.outputs[0]
    for _ in range(3):
        users = [n for n in data_consumers(value) if n in branch]
        if any(user.op_type == "Concat" for user in users):
            return True
        if len(users) != 1 or users[0].op_type not in _MOVES:
            return False
        value = users[0].outputs[0]
    return False


def _is_trigonometric(value: ir.Value) -> bool:
    """Whether sines or cosines compute a value, or it is a stored table."""
    pending, seen = [value], set()
    for current in pending:
        tensor = constant(current)
        if tensor is not None and tensor.size > 1 and len(tensor.shape) >= 2:
            return True
        node = current.producer()
        if node is None or node in seen:
            continue
        if node.op_type in ("Sin", "Cos"):
            return True
        seen.add(node)
        pending.extend(data_inputs(node))
    return False

"""Self-attention modules: scores of queries and keys, Softmax, values.

What is where is read off the products around the Softmax, whatever stands between them (masks,
scales, shifts, layout): the scores that reach the Softmax are products of queries and keys or of
queries and positions; the product that the Softmax reaches is the one with the values; the linear
layers nearest to each operand are the projections.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx_ir as ir

from .branch import FUSED_ATTENTION_OPS, Branch, NotRecognisedError, Upstream, counted, upstream
from .heads import head_size
from .modules import Linear, SelfAttention
from .position import find_positions
from .scores import averaging_product


@dataclasses.dataclass(frozen=True)
class Scores:
    """The products around a Softmax.

    Attributes:
        softmax: The Softmax or fused Attention node.
        content: Product of queries and keys; the fused node itself when there is one.
        query: Operand of ``content`` with the queries.
        key: Operand with the keys.
        position: Products of queries and positions, each with the operand of the positions.
        value: What is averaged.
        added: What computes the rest of the scores: masks and biases.
    """

    softmax: ir.Node
    content: ir.Node
    query: ir.Value
    key: ir.Value
    position: tuple[tuple[ir.Node, ir.Value], ...]
    value: ir.Value
    added: Upstream


def recognise_attention(branch: Branch) -> SelfAttention:
    """The details of an attention branch.

    Raises:
        NotRecognisedError: The branch is something else.
    """
    scores = _scores(branch)
    query = _projection(branch, "queries", scores.query)
    key, added = _key_projection(branch, scores.key)
    value = _projection(branch, "values", scores.value)
    out = _output_projection(branch, scores)
    positions = find_positions(branch, scores.position, scores.added, added)
    size = head_size(scores.content, scores.query, scores.key, out.in_features)
    if size is None:
        raise NotRecognisedError(
            "neither shapes nor Reshapes tell how wide a head is; run shape inference first"
        )
    if out.in_features % size:
        raise NotRecognisedError(
            f"the output projection takes {out.in_features} features, which is no multiple of the "
            f"head size {size}"
        )
    return SelfAttention(
        heads=out.in_features // size,
        head_size=size,
        position=positions.type,
        position_values=positions.values,
        query=query,
        key=key,
        value=value,
        out=out,
        position_layer=positions.layer,
        softmax=scores.softmax,
    )


def _scores(branch: Branch) -> Scores:
    fused = branch.of_type(*FUSED_ATTENTION_OPS)
    if len(fused) == 1:
        return _fused_scores(branch, fused[0])
    softmaxes = branch.of_type("Softmax")
    if _is_by_blocks(branch, softmaxes):
        softmaxes = softmaxes[:1]
    if len(softmaxes) + len(fused) != 1:
        raise NotRecognisedError(
            f"it holds {counted(len(softmaxes) + len(fused), 'Softmax', 'Softmaxes')}; "
            "self-attention has one"
        )
    softmax = softmaxes[0]
    added = upstream(_operands(softmax)[:1], branch.products)
    content, position = _split_products(branch, added.products)
    if len(content) != 1:
        raise NotRecognisedError(
            f"its Softmax is reached by {counted(len(content), 'product')} of queries and keys; "
            "self-attention has one"
        )
    query, key = _operands(content[0])
    return Scores(
        softmax=softmax,
        content=content[0],
        query=query,
        key=key,
        position=position,
        value=_averaged(branch, softmax),
        added=added,
    )


def _is_by_blocks(branch: Branch, softmaxes: Sequence[ir.Node]) -> bool:
    """Whether each Softmax is that of a block of queries, whose contexts are then joined."""
    if len(softmaxes) < 2:
        return False
    contexts = [averaging_product(softmax) for softmax in softmaxes]
    joins = {user for node in contexts if node for user in node.outputs[0].consumers()}
    return (
        None not in contexts
        and len(joins) == 1
        and all(join.op_type == "Concat" and join in branch for join in joins)
    )


def _fused_scores(branch: Branch, node: ir.Node) -> Scores:
    """Attention as one node; a relative position comes in as its mask."""
    query, key, value = node.inputs[:3]
    if query is None or key is None or value is None:
        raise NotRecognisedError(
            f"its {node.op_type} node takes packed projections; only separate queries, keys and "
            "values are understood"
        )
    added = upstream([v for v in node.inputs[3:] if v is not None], branch.products)
    _, position = _split_products(branch, added.products)
    return Scores(node, node, query, key, position, value, added)


def _operands(node: ir.Node) -> list[ir.Value]:
    return [v for v in node.inputs if v is not None]


def _split_products(
    branch: Branch, products: Sequence[ir.Node]
) -> tuple[list[ir.Node], tuple[tuple[ir.Node, ir.Value], ...]]:
    """Products of two computed operands, and those of which one is a table of positions."""
    content: list[ir.Node] = []
    position: list[tuple[ir.Node, ir.Value]] = []
    for node in products:
        tables = [v for v in _operands(node) if v not in branch.flow]
        if node not in branch:
            continue
        if not tables:
            content.append(node)
        elif len(tables) == 1:
            position.append((node, tables[0]))
    return content, tuple(position)


def _averaged(branch: Branch, softmax: ir.Node) -> ir.Value:
    """The operand that is multiplied with what the Softmax puts out."""
    for node in branch.activation_products:
        reached = [softmax in upstream(v, branch.products).softmaxes for v in _operands(node)]
        if reached == [True, False]:
            return _operands(node)[1]
        if reached == [False, True]:
            return _operands(node)[0]
    raise NotRecognisedError(
        "no product of activations takes what its Softmax puts out; self-attention averages its "
        "values with it"
    )


def _key_projection(branch: Branch, value: ir.Value) -> tuple[Linear, Linear | None]:
    """The linear layer nearest to the keys, and one of positions that are added to them."""
    linears = upstream(value, branch.products).linears
    positions = [layer for layer in linears if layer.node not in branch]
    if len(linears) == 2 and len(positions) == 1:
        return next(layer for layer in linears if layer not in positions), positions[0]
    return _projection(branch, "keys", value), None


def _projection(branch: Branch, what: str, value: ir.Value) -> Linear:
    """The one linear layer nearest to an operand."""
    found = upstream(value, branch.products)
    names = ", ".join(layer.node.name or layer.node.op_type for layer in found.linears)
    if len(found.linears) != 1:
        raise NotRecognisedError(
            f"its {what} come from {counted(len(found.linears), 'linear layer')}"
            f"{f' ({names})' if names else ''}; in self-attention they come from one"
        )
    layer = found.linears[0]
    if layer.node not in branch:
        raise NotRecognisedError(
            f"its {what} come from {names}, which does not read the stream: this is attention to "
            "something else"
        )
    return layer


def _output_projection(branch: Branch, scores: Scores) -> Linear:
    """The linear layer nearest after the averaged values."""
    for layer in branch.linears:
        reached = upstream(layer.input, branch.products)
        if scores.softmax in reached.softmaxes:
            return layer
        for node in reached.products:
            if any(
                scores.softmax in upstream(v, branch.products).softmaxes for v in _operands(node)
            ):
                return layer
    raise NotRecognisedError("no linear layer follows the averaged values")

"""Relative shift without padding.

Transformer-XL attention scores positions for every distance, ``x[..., i, r]`` of T queries with D
distances (2T-1, or T-1 more than there are keys where a stream has keys of earlier chunks), and
then needs ``y[..., i, j] = x[..., i, T-1-i+j]`` for D-T+1 keys (Dai et al. 2019, appendix B).
Exporters write Pad (or a Concat of a column of zeros), Reshape, Slice, Reshape, Slice, which copies
the scores three times. Read as one flat row, y is x from element T-1 on with rows of D-1 elements;
so the column of zeros and its copy can go.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...linear import only_user
from ...rewrite import Patch, constant, is_known, producer, replace_value


@dataclasses.dataclass(frozen=True)
class RelativeShift(InPlacePass):
    """Rewrites Pad or Concat, Reshape, Slice, Reshape, Slice of [batch, heads, T, D] scores.

    The shapes that the two Reshapes compute are not proven here; the pipeline compares outputs.
    Lossless: elements are only moved.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            scores = _padded(node)
            if scores is None:
                continue
            last = _chain_end(node)
            if last is None:
                journal.refuse(
                    layer_of(node),
                    f"a {node.op_type} that no Reshape, Slice, Reshape, Slice of rank 4 follows",
                )
                continue
            replace_value(last.outputs[0], _shifted(scores, last))
            journal.change(layer_of(node), "relative shift without padding")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _padded(node: ir.Node) -> ir.Value | None:
    """What a node puts zeros in front of, or may; None for other nodes."""
    if node.domain:
        return None
    if node.op_type == "Pad":
        source = node.inputs[0]
        # Frames of a causal convolution have three axes.
        known = source is not None and source.shape is not None and len(source.shape) != 4
        return None if known or not _puts_one_column_in_front(node) else source
    if node.op_type != "Concat" or len(node.inputs) != 2:
        return None
    zeros, scores = node.inputs
    shape = None if zeros is None else zeros.shape
    if node.attributes.get_int("axis") not in (-1, 3) or shape is None or len(shape) != 4:
        return None
    return scores if shape[3] == 1 and _is_zero(zeros) else None


def _puts_one_column_in_front(pad: ir.Node) -> bool:
    """Whether a Pad is known to do that to four axes, and nothing else."""
    amounts = constant(pad.inputs[1])
    axes = constant(pad.inputs[3]) if len(pad.inputs) > 3 and pad.inputs[3] is not None else None
    places = np.arange(4) if axes is None else axes % 4
    if amounts is None or amounts.size != 2 * places.size:
        return False
    whole = np.zeros((2, 4), int)
    whole[:, places] = amounts.reshape(2, -1)
    return bool(np.array_equal(whole, [[0, 0, 0, 1], [0, 0, 0, 0]]))


def _is_zero(value: ir.Value | None) -> bool:
    """Whether a value is zeros, stored or made in one of a few ways."""
    array = constant(value)
    if array is not None:
        return not array.any()
    if (made := producer(value, "ConstantOfShape")) is not None:
        fill = made.attributes.get_tensor("value", None)
        return fill is None or not fill.numpy().any()
    spread = producer(value, "Expand")
    return spread is not None and _is_zero(spread.inputs[0])


def _chain_end(pad: ir.Node) -> ir.Node | None:
    """The last Slice of the idiom that begins with this Pad, or None."""
    node: ir.Node | None = pad
    for op_type in ("Reshape", "Slice", "Reshape", "Slice"):
        node = only_user(node.outputs[0]) if node is not None else None
        if node is None or node.op_type != op_type or node.domain:
            return None
        if op_type == "Slice" and not _is_step_one(node):
            return None
    assert node is not None
    middle = node.inputs[0].producer().inputs[0].producer()  # type: ignore[union-attr]
    assert middle is not None
    drops_first_row = _axis(middle) == 2 and _number(middle.inputs[1]) == 1
    keeps_first_columns = _axis(node) == 3 and _number(node.inputs[1]) == 0
    return node if drops_first_row and keeps_first_columns else None


def _asks(number: ir.Value | None, scores: ir.Value) -> bool:
    """Whether a number is computed from the sizes of scores.

    Its formula, T or half of D, holds for as many queries as keys, and D-T+1 for a part of them.
    """
    pending = [number]
    for value in pending:
        node = value.producer() if value is not None else None
        if node is not None and node.op_type == "Shape":
            if node.inputs[0] is scores:
                return True
        elif node is not None:
            pending.extend(v for v in node.inputs if v not in pending)
    return False


def _are_queries(columns: ir.Value, scores: ir.Value) -> bool:
    """Whether there are as many columns as queries, which 2T-1 distances serve.

    Their number is then better told by the distances: a part of the queries has a part of these.
    """
    queries = None if scores.shape is None or len(scores.shape) != 4 else scores.shape[2]
    if queries is None or not is_known(queries):
        return False
    # Added to scores of keys they have that many; inference does not tell what a Slice keeps.
    alike = [v for user in columns.consumers() if user.op_type == "Add" for v in user.inputs]
    return any(v is not None and v.shape and v.shape[-1] == queries for v in (columns, *alike))


def _addition(shifted: ir.Value) -> tuple[ir.Node, ir.Value] | None:
    """The Add of shifted scores and others that are known to have as many columns, and these."""
    add = only_user(shifted)
    if add is None or add.op_type != "Add":
        return None
    other = next((v for v in add.inputs if v is not shifted), None)
    if other is None or other.shape is None or shifted.shape is None or len(other.shape) != 4:
        return None
    columns = other.shape[3]
    return (add, other) if is_known(columns) and columns == shifted.shape[3] else None


def _columns(scores: ir.Value, last: ir.Node) -> tuple[Patch, ir.Value | None]:
    """How many columns the chain's last Slice keeps, and where that is known; None for D-T+1."""
    if _asks(last.inputs[2], scores) or _are_queries(last.outputs[0], scores):
        return Patch(last), None
    addition = _addition(last.outputs[0])
    if addition is None:
        return Patch(last), last.inputs[2]
    # Sizes of the model's inputs say nothing of the keys to who sees attention alone.
    user, content = addition
    patch = Patch(user)
    return patch, patch.op("Gather", patch.op("Shape", content), patch.ints(3), axis=0)


def _shifted(scores: ir.Value, chain_end: ir.Node) -> ir.Value:
    """y[..., i, j] = x[..., i, T-1-i+j] for x of shape [batch, heads, T, D]."""
    patch, columns = _columns(scores, chain_end)
    shape = patch.op("Shape", scores)
    one = patch.ints(1)
    frames = patch.op("Gather", shape, patch.ints(2), axis=0)
    distances = patch.op("Gather", shape, patch.ints(3), axis=0)
    last = patch.op("Sub", frames, one)
    most = patch.op("Sub", distances, last)
    # The row of a single query has D elements, one more than D-1.
    width = patch.op("Max", patch.op("Sub", distances, one), most)
    end = patch.op("Add", last, patch.op("Mul", frames, width))
    flat = patch.op("Reshape", scores, patch.ints(0, 0, -1))
    begun = patch.op("Slice", flat, last, end, patch.ints(2), one)
    target = patch.op("Concat", patch.ints(0, 0), frames, width, axis=0)
    rows = patch.op("Reshape", begun, target)
    return patch.op("Slice", rows, patch.ints(0), columns or most, patch.ints(3), one)


def _is_step_one(node: ir.Node) -> bool:
    return len(node.inputs) < 5 or node.inputs[4] is None or _number(node.inputs[4]) == 1


def _axis(node: ir.Node) -> int | None:
    axis = _number(node.inputs[3]) if len(node.inputs) > 3 else None
    return None if axis is None else axis % 4


def _number(value: ir.Value | None) -> int | None:
    array = constant(value)
    return int(array.reshape(-1)[0]) if array is not None and array.size == 1 else None

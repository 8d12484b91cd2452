"""Masks by length, looked up in a table of frames by frames, become comparisons.

ESPnet's exports compute a triangle, whose row r is true from frame r on, and look up one row for
each utterance by its length: nine million comparisons for 30 s of speech, where three thousand say
the same. Exporters spell the triangle in several ways; what is looked up is evaluated for a few
lengths, and where it is a mask of padding, frame numbers are compared with lengths.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...fuse.region import Array, NotFusedError, Region
from ...linear import only_user
from ...rewrite import Patch, constant, replace_value

#: Lengths of the utterances of some batches.
_TRIALS = ((3,), (5, 2), (7, 7, 1), (4, 9, 6, 2))


@dataclasses.dataclass(frozen=True)
class LengthMask(InPlacePass):
    """Rewrites masks [batch, longest] that Gather or GatherND take from a table [rows, columns].

    Lossless for lengths of 1 and more; to an utterance of no frames the table gives the mask of the
    longest, and the comparison masks all of it.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            if not _looks_up_rows(node):
                continue
            mask = _cut(node.outputs[0])
            lengths = _lengths(mask)
            if lengths is None:
                continue
            try:
                padding = _marks_padding(model.graph, lengths, mask)
            except NotFusedError as error:
                journal.refuse(layer_of(node), f"its rows are still looked up in a table: {error}")
                continue
            _compare(node, lengths, mask, padding=padding)
            journal.change(layer_of(node), "mask by length computed by comparison, not looked up")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _looks_up_rows(node: ir.Node) -> bool:
    """Whether a node takes rows of a computed table of bools."""
    if node.op_type not in ("Gather", "GatherND") or node.domain:
        return False
    table = node.inputs[0]
    return (
        table is not None
        and constant(table) is None
        and table.dtype == ir.DataType.BOOL
        and table.shape is not None
        and len(table.shape) == 2
        and node.attributes.get_int("axis", 0) == 0
        and node.attributes.get_int("batch_dims", 0) == 0
    )


def _cut(rows: ir.Value) -> ir.Value:
    """The rows behind Slices that alone use them."""
    user = only_user(rows)
    while user is not None and user.op_type == "Slice" and user.inputs[0] is rows:
        rows = user.outputs[0]
        user = only_user(rows)
    return rows


def _lengths(mask: ir.Value) -> ir.Value | None:
    """The integers [batch] that a mask is computed from; None where it is from something else."""
    found: set[ir.Value] = set()
    seen: set[ir.Value] = set()
    pending = [mask]
    for value in pending:
        node = value.producer()
        if value in seen or constant(value) is not None:
            continue
        seen.add(value)
        if node is None:
            found.add(value)
        else:
            pending.extend(v for v in node.inputs if v is not None)
    if len(found) != 1:
        return None
    (source,) = found
    is_list = source.shape is not None and len(source.shape) == 1
    is_integer = source.dtype in (ir.DataType.INT32, ir.DataType.INT64)
    return source if is_list and is_integer else None


def _marks_padding(graph: ir.Graph, lengths: ir.Value, mask: ir.Value) -> bool:
    """Whether a mask [batch, longest] is true where an utterance has ended; false where it has not.

    Raises:
        NotFusedError: It is neither.
    """
    assert lengths.dtype is not None, "the lengths are integers"
    region = Region(graph, [lengths], mask)
    marked: list[tuple[Array, Array]] = []
    for trial in _TRIALS:
        given = np.array(trial, lengths.dtype.numpy())
        try:
            found = region.evaluate({lengths: given})
        except ValueError as error:  # numpy's: the sizes do not fit
            raise NotFusedError("they cannot be evaluated for a few lengths") from error
        marked.append((found, np.arange(max(trial)) >= given[:, None]))
    for padding in (True, False):
        if all(np.array_equal(found, ended == padding) for found, ended in marked):
            return padding
    raise NotFusedError("they are no masks of padding up to the longest utterance")


def _compare(node: ir.Node, lengths: ir.Value, mask: ir.Value, *, padding: bool) -> None:
    """Replaces a mask by a comparison of frame numbers with lengths."""
    assert lengths.dtype is not None, "the lengths are integers"
    patch = Patch(node)
    zero, one = (patch.constant(np.array(i, lengths.dtype.numpy()), f"{i}") for i in (0, 1))
    longest = patch.op("ReduceMax", lengths, keepdims=0)
    frames = patch.op("Range", zero, longest, one)
    ends = patch.op("Unsqueeze", lengths, patch.ints(1))
    compared = patch.op("LessOrEqual" if padding else "Greater", ends, frames)
    compared.type, compared.shape = mask.type, mask.shape
    replace_value(mask, compared)

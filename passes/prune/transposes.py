"""Transposes that exporters write as Reshape, Transpose, Reshape.

torch writes kᵀ of scaled dot-product attention in nine nodes that join batch and heads into one
axis and part them again. No head could be cut on a joined axis of varying size.
"""

from __future__ import annotations

import onnx_ir as ir

from ..linear import only_user
from ..rewrite import Patch, replace_value
from .align import align
from .shapes import Shape, Shapes
from .size import ONE


def restore_transposes(graph: ir.Graph, shapes: Shapes) -> int:
    """Writes such chains as one Transpose each; returns how many there were."""
    count = 0
    for node in graph:
        if node.op_type != "Transpose" or node.domain or node.inputs[0] is None:
            continue
        first, last = node.inputs[0].producer(), only_user(node.outputs[0])
        if first is None or last is None or first.op_type != "Reshape" or last.op_type != "Reshape":
            continue
        perm = _permutation(shapes, first, node, last)
        source = first.inputs[0]
        if perm is None or source is None:
            continue
        replace_value(last.outputs[0], Patch(last).op("Transpose", source, perm=perm))
        count += 1
    return count


def _permutation(
    shapes: Shapes, first: ir.Node, transpose: ir.Node, last: ir.Node
) -> list[int] | None:
    """The permutation that the three nodes amount to, None if they amount to none."""
    before, joined = shapes.of(first.inputs[0]), shapes.of(first.outputs[0])
    moved, after = shapes.of(last.inputs[0]), shapes.of(last.outputs[0])
    if before is None or joined is None or moved is None or after is None:
        return None
    if ONE in (*before, *joined, *after):
        return None
    sources, targets = _parts(before, joined), _parts(after, moved)
    if sources is None or targets is None:
        return None
    perm = transpose.attributes.get_ints("perm", list(range(len(joined)))[::-1])
    result: list[int] = []
    for place, axis in enumerate(perm):
        if [before[i] for i in sources[axis]] != [after[i] for i in targets[place]]:
            return None
        result.extend(sources[axis])
    return result


def _parts(fine: Shape, coarse: Shape) -> dict[int, tuple[int, ...]] | None:
    """The axes of ``fine`` that every axis of ``coarse`` joins."""
    parts = {}
    for many, one in align(fine, coarse):
        if len(one) != 1:
            return None
        parts[one[0]] = many
    return parts

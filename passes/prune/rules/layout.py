"""Operators that leave every element as it is and give it another place."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..align import align
from ..facts import Facts, fact_rule
from ..known import Fact, collapse
from ..shapes import Shape
from ..size import ONE
from ..wiring import Wiring, link_rule

_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


@fact_rule(*_RESHAPES)
def _reshape(facts: Facts, node: ir.Node) -> list[Fact | None]:
    fact, before = facts.of(node.inputs[0]), facts.shapes.of(node.inputs[0])
    after = facts.shapes.of(node.outputs[0])
    if fact is None or before is None or after is None:
        return [None]
    return [reshape_fact(fact, before, after)]


def reshape_fact(fact: Fact, before: Shape, after: Shape) -> Fact:
    """The fact in its new shape, group by group of the axes that a Reshape joins or splits."""
    groups = align(before, after)
    for left, right in groups:
        sizes = [before[axis].number for axis in left] + [after[axis].number for axis in right]
        if any(size is None for size in sizes):
            for axis in left:
                fact = collapse(fact, axis)
    spread, target = [1] * len(before), [1] * len(after)
    for left, right in groups:
        if any(fact.shape[axis] > 1 for axis in left):
            for axis in left:
                spread[axis] = before[axis].number or 1
            for axis in right:
                target[axis] = after[axis].number or 1
    return np.broadcast_to(fact, spread).reshape(target)


@link_rule(*_RESHAPES)
def _link_reshape(wiring: Wiring, node: ir.Node) -> None:
    before, after = wiring.shapes.of(node.inputs[0]), wiring.shapes.of(node.outputs[0])
    if before is None or after is None:
        return
    for left, right in align(before, after):
        a = [wiring.input(node, 0, axis) for axis in left]
        b = [wiring.output(node, axis) for axis in right]
        known_a = [axis for axis in a if axis is not None]
        known_b = [axis for axis in b if axis is not None]
        if not a or not b or len(known_a) < len(a) or len(known_b) < len(b):
            for axis in (*known_a, *known_b):
                reason = f"{node.op_type} '{node.name}' mixes it with an axis of varying size"
                wiring.stay(axis, reason)
        elif len(a) == len(b) == 1:
            wiring.tie(a[0], b[0])
        else:
            wiring.grid(known_a, known_b)


@fact_rule("Transpose")
def _transpose(facts: Facts, node: ir.Node) -> list[Fact | None]:
    fact = facts.of(node.inputs[0])
    if fact is None:
        return [None]
    return [fact.transpose(node.attributes.get_ints("perm", list(range(fact.ndim))[::-1]))]


@link_rule("Transpose")
def _link_transpose(wiring: Wiring, node: ir.Node) -> None:
    rank = wiring.rank(node.inputs[0])
    if rank is None:
        return
    for place, axis in enumerate(node.attributes.get_ints("perm", list(range(rank))[::-1])):
        wiring.tie(wiring.input(node, 0, axis), wiring.output(node, place))


@fact_rule("Expand", "Tile")
def _expand(facts: Facts, node: ir.Node) -> list[Fact | None]:
    """A fact says as much of the copies; repeated axes must say the same of every place."""
    fact, before = facts.of(node.inputs[0]), facts.shapes.of(node.inputs[0])
    after = facts.shapes.of(node.outputs[0])
    if fact is None or before is None or after is None:
        return [None]
    lead = len(after) - len(before)
    for axis, size in enumerate(before):
        if size != after[axis + lead]:
            fact = collapse(fact, axis)
    return [fact.reshape((1,) * lead + fact.shape)]


@link_rule("Expand")
def _link_expand(wiring: Wiring, node: ir.Node) -> None:
    before, after = wiring.shapes.of(node.inputs[0]), wiring.shapes.of(node.outputs[0])
    if before is None or after is None:
        return
    for back in range(1, len(after) + 1):
        out = wiring.output(node, -back)
        if back > len(before) or before[-back] == ONE:
            wiring.free(out)
        elif before[-back] == after[-back]:
            wiring.tie(wiring.input(node, 0, -back), out)


@link_rule("Tile")
def _link_tile(wiring: Wiring, node: ir.Node) -> None:
    before, after = wiring.shapes.of(node.inputs[0]), wiring.shapes.of(node.outputs[0])
    if before is None or after is None:
        return
    for axis, (a, b) in enumerate(zip(before, after, strict=True)):
        if a == b:
            wiring.tie(wiring.input(node, 0, axis), wiring.output(node, axis))


@fact_rule("ConstantOfShape")
def _constant_of_shape(facts: Facts, node: ir.Node) -> list[Fact | None]:
    shape, attribute = facts.shapes.of(node.outputs[0]), node.attributes.get("value")
    fill = attribute.as_tensor().numpy() if attribute is not None else np.zeros(1, np.float32)
    if shape is None or fill.dtype.kind != "f":
        return [None]
    return [np.full((1,) * len(shape), float(fill.reshape(-1)[0]))]


@link_rule("ConstantOfShape")
def _link_constant_of_shape(wiring: Wiring, node: ir.Node) -> None:
    for axis in range(wiring.rank(node.outputs[0]) or 0):
        wiring.free(wiring.output(node, axis))

"""QuantizeLinear and DequantizeLinear: per tensor, per channel, per frame."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..facts import Facts, fact_rule
from ..known import Fact
from ..wiring import Wiring, link_rule

_BOTH = ("QuantizeLinear", "DequantizeLinear")


@fact_rule("DequantizeLinear")
def _dequantise(facts: Facts, node: ir.Node) -> list[Fact | None]:
    codes, scale = facts.of(node.inputs[0]), facts.or_unknown(node.inputs[1])
    if codes is None or scale is None:
        return [_quantised_fact(facts, node)]
    shape = facts.shapes.of(node.inputs[0])
    if shape is None or not facts.is_fixed(node.inputs[0]):
        return [None]
    size = shape[_axis(node, len(shape))].number
    scales = _spread(scale, node, len(shape), size)
    zero: Fact = np.zeros(1)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        found = facts.constant(node.inputs[2])
        if found is None:
            return [None]
        zero = _spread(found.astype(np.float64), node, len(shape), size)
    return [(codes.astype(np.float64) - zero) * scales]


def _quantised_fact(facts: Facts, node: ir.Node) -> Fact | None:
    """A zero that was quantised with a zero point of the same QDQ pair is a zero again."""
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    if source is None or source.op_type != "QuantizeLinear":
        return None
    if [*source.inputs[1:3]] != [*node.inputs[1:3]]:
        return None
    fact = facts.of(source.inputs[0])
    return None if fact is None else np.where(fact == 0, 0.0, np.nan)


def _axis(node: ir.Node, rank: int) -> int:
    return node.attributes.get_int("axis", 1) % max(rank, 1)


def _spread(scale: Fact, node: ir.Node, rank: int, size: int | None) -> Fact:
    """Scales as they meet the elements."""
    block = node.attributes.get_int("block_size", 0)
    if scale.size == 1:
        return scale.reshape((1,) * rank)
    if block:
        repeated = np.repeat(scale, block, axis=_axis(node, rank))
        return np.take(repeated, range(size or 0), axis=_axis(node, rank))
    shape = [1] * rank
    shape[_axis(node, rank)] = -1
    return scale.reshape(shape)


@link_rule(*_BOTH)
def _link_quantise(wiring: Wiring, node: ir.Node) -> None:
    shape = wiring.shapes.of(node.inputs[0])
    if shape is None:
        return
    block = node.attributes.get_int("block_size", 0)
    along = _axis(node, len(shape))
    for axis in range(len(shape)):
        source, target = wiring.input(node, 0, axis), wiring.output(node, axis)
        wiring.tie(source, target)
        for index in range(1, len(node.inputs)):
            _link_scale(wiring, node, index, axis, along, block)


def _link_scale(
    wiring: Wiring, node: ir.Node, index: int, axis: int, along: int, block: int
) -> None:
    """Scales and zero points go with the channels or blocks that they belong to."""
    rank = wiring.rank(node.inputs[index])
    target = wiring.output(node, axis)
    if block:
        scale = wiring.input(node, index, axis)
        if axis != along:
            wiring.tie(scale, target)
        elif scale is not None and target is not None:
            size = wiring.sizes[scale]
            if size * block == wiring.sizes[target]:
                wiring.grid([scale, block], [target])
            else:
                wiring.stay(target, f"the last block of '{node.name}' is not full")
    elif rank == 1 and axis == along:
        wiring.tie(wiring.input(node, index, 0), target)

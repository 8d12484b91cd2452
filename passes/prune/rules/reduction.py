"""Sums, means and extremes over axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from ..facts import Facts, fact_rule
from ..known import Fact, only_axis
from ..links import Stay
from ..shapes import reduced_axes
from ..wiring import Wiring, link_rule

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceMean": np.mean,
    "ReduceSum": np.sum,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
}
_SUMS = ("ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2")


@fact_rule(*_FUNCTIONS)
def _reduce(facts: Facts, node: ir.Node) -> list[Fact | None]:
    fact, axes = facts.of(node.inputs[0]), reduced_axes(facts.shapes, node)
    shape = facts.shapes.of(node.inputs[0])
    if fact is None or axes is None or shape is None:
        return [None]
    keep = bool(node.attributes.get_int("keepdims", 1))
    found = np.asarray(_FUNCTIONS[node.op_type](fact, axis=tuple(axes), keepdims=keep), np.float64)
    if node.op_type == "ReduceSum":
        # A fact of size one speaks of every place: the sum has as many terms as there are.
        spread = [shape[axis].number for axis in axes if fact.shape[axis] == 1]
        if any(size is None for size in spread):
            return [np.where(found == 0, 0.0, np.nan)]
        found = found * math.prod(size or 1 for size in spread)
    return [found]


@link_rule(*_FUNCTIONS, *_SUMS)
def _link_reduce(wiring: Wiring, node: ir.Node) -> None:
    axes, rank = reduced_axes(wiring.shapes, node), wiring.rank(node.inputs[0])
    if axes is None or rank is None:
        return
    keep = bool(node.attributes.get_int("keepdims", 1))
    place = 0
    for axis in range(rank):
        source = wiring.input(node, 0, axis)
        if axis not in axes:
            wiring.tie(source, wiring.output(node, place))
            place += 1
            continue
        place += keep
        if source is not None and _ignores_zeros(node):
            # What is zero neither adds to a sum nor is the largest of absolute values.
            known = only_axis(wiring.facts.of(node.inputs[0]), axis, wiring.sizes[source])
            reason = f"{node.op_type} '{node.name}' takes it in"
            wiring.add(Stay(source, reason, np.flatnonzero(known != 0)))


def _ignores_zeros(node: ir.Node) -> bool:
    if node.op_type in _SUMS:
        return True
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    return node.op_type == "ReduceMax" and source is not None and source.op_type == "Abs"

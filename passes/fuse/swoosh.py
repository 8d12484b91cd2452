"""Zipformer's activations in one operator.

Their nodes are found around a Log, whatever the spelling: what depends element by element on one
value and leaves by one. Shift, slope and offset are read off the function that these nodes compute
far from zero, and the operator must agree with it everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import LAYER_KEY, InPlacePass, Journal, PassResult, layer_of
from ..linear import only_user
from ..operators.functions import define
from ..operators.swoosh import SWOOSH, swoosh_function, swoosh_node
from ..rewrite import Patch, constant, producer, replace_value
from .region import Array, Region, evaluate_operator

_ELEMENTWISE = frozenset((
    "Abs", "Add", "Equal", "Exp", "Log", "Max", "Mul", "Neg", "Relu", "Sub", "Where",
))  # fmt: skip
#: Nodes between what is activated and the Log of it.
_MOST_STEPS = 8
#: Where the function is compared; the ends tell what it is.
_GRID: Array = np.concatenate([
    np.linspace(-80, -40, 9), np.linspace(-30, 30, 241), np.linspace(40, 100, 9),
]).astype(np.float32)  # fmt: skip
#: Of values of order 100, in float32.
_TOLERANCE = 3e-5


@dataclasses.dataclass(frozen=True)
class FuseSwoosh(InPlacePass):
    """Nodes that compute a softplus less a line get ``confpress.v1.Swoosh``.

    Lossless up to float arithmetic: both are evaluated on numbers from -80 to 100.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        function = swoosh_function(model.opset_imports.get("", 1))
        for log in [node for node in model.graph if node.op_type == "Log" and not node.domain]:
            found = [
                (x, y, numbers)
                for x, y in _ways(log)
                if (numbers := _numbers(model.graph, x, y, function)) is not None
            ]
            if found:
                # Of all that it may be computed from the farthest: softplus(-x) within is one too.
                journal.change(_replace(model.graph, *found[-1]), "activation, Swoosh")
                define(model, function)
        common.RemoveUnusedNodesPass()(model)
        for node in [each for each in model.graph if each.op_type == SWOOSH]:
            _move_transpose_behind(node)
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


@dataclasses.dataclass(frozen=True)
class _Numbers:
    """The operator's attributes."""

    shift: float
    slope: float
    offset: float

    def node(self, x: ir.Value, name: str | None = None) -> ir.Node:
        return swoosh_node(x, shift=self.shift, slope=self.slope, offset=self.offset, name=name)


def _replace(graph: ir.Graph, x: ir.Value, y: ir.Value, numbers: _Numbers) -> str | None:
    """Puts the operator in the place of what computes y; the layer that this belongs to."""
    end = y.producer()
    assert end is not None, "a node computes it"
    node = numbers.node(x, f"{end.name}/Swoosh")
    if LAYER_KEY in end.metadata_props:
        node.metadata_props[LAYER_KEY] = end.metadata_props[LAYER_KEY]
    graph.insert_before(end, node)
    replace_value(y, node.outputs[0])
    return layer_of(end)


def _move_transpose_behind(node: ir.Node) -> None:
    """A Transpose in front of the operator goes behind it, where another may cancel it."""
    turn, y = producer(node.inputs[0], "Transpose"), node.outputs[0]
    if turn is None or only_user(turn.outputs[0]) is not node or y.is_graph_output():
        return
    perm, shape = turn.attributes.get_ints("perm"), y.shape
    users = list(y.uses())
    node.replace_input_with(0, turn.inputs[0])
    y.shape = turn.inputs[0].shape if turn.inputs[0] is not None else None
    turned: ir.Value | None = None
    for user, place in users:
        if user.op_type == "Transpose" and _cancel(perm, user.attributes.get_ints("perm", ())):
            replace_value(user.outputs[0], y)
            continue
        if turned is None:
            turned = Patch(node, behind=True).op("Transpose", y, perm=perm)
            turned.dtype, turned.shape = ir.DataType.FLOAT, shape
        user.replace_input_with(place, turned)


def _cancel(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two Transposes, one after the other, leave the axes as they were."""
    return [first[axis] for axis in second] == list(range(len(first)))


def _ways(log: ir.Node) -> Iterator[tuple[ir.Value, ir.Value]]:
    """What a Log may be computed from, the nearest first, with what is computed from that alone."""
    value = log.inputs[0]
    for _ in range(_MOST_STEPS):
        node = value.producer() if value is not None else None
        if node is None or node.op_type not in _ELEMENTWISE:
            return
        computed = {v for v in node.inputs if v is not None and constant(v) is None}
        if len(computed) != 1:
            return
        value = computed.pop()
        inside = _computed_from(value)
        pending = [log.outputs[0]]
        for end in pending:
            users = [u.outputs[0] for u in end.consumers() if u.outputs[0] in inside]
            pending.extend(user for user in users if user not in pending)
            yield value, end


def _computed_from(source: ir.Value) -> set[ir.Value]:
    """What is computed element by element from a value and constants alone."""
    inside, pending = {source}, [source]
    while pending:
        for user in pending.pop().consumers():
            known = all(v in inside or constant(v) is not None for v in user.inputs if v)
            if user.op_type in _ELEMENTWISE and known and user.outputs[0] not in inside:
                inside.add(user.outputs[0])
                pending.append(user.outputs[0])
    return inside


def _numbers(graph: ir.Graph, x: ir.Value, y: ir.Value, function: ir.Function) -> _Numbers | None:
    """The operator's attributes where it computes y of x."""
    region = Region(graph, [x], y)
    inner = [v for node in region.nodes for v in node.outputs if v is not y]
    if any(v.is_graph_output() or not set(v.consumers()) <= set(region.nodes) for v in inner):
        return None
    wanted = region.attempt({x: _GRID})
    if wanted is None or wanted.shape != _GRID.shape or not np.isfinite(wanted).all():
        return None
    # Numbers that somebody wrote: what float32 adds to them is left out.
    slope = round(float((wanted[0] - wanted[8]) / (_GRID[8] - _GRID[0])), 6)
    offset = round(float(-slope * _GRID[8] - wanted[8]), 6)
    shift = round(float(_GRID[-1] * (1 - slope) - offset - wanted[-1]), 4)
    if slope == 0:
        return None  # a softplus alone, with which a larger part of the graph may begin
    numbers = _Numbers(shift, slope, offset)
    # Not a reader of x, of which the graph would know.
    alone = ir.val("x", ir.DataType.FLOAT, [None])
    found = evaluate_operator(numbers.node(alone), function, {alone: _GRID})
    return numbers if np.abs(found - wanted).max() <= _TOLERANCE else None

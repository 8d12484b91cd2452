"""Collects the links of all nodes of a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx_ir as ir

from ..structure.graph import captured
from .facts import Facts
from .links import Axis, Free, Grid, Link, Places, Stay, Tie, Use
from .shapes import Shapes

#: The input of a streaming state and the output that hands it on.
Cached = tuple[ir.Value, ir.Value]

LinkRule = Callable[["Wiring", ir.Node], None]

_RULES: dict[str, LinkRule] = {}


def link_rule(*op_types: str) -> Callable[[LinkRule], LinkRule]:
    """Registers the rule of operators of the standard domain."""

    def register(rule: LinkRule) -> LinkRule:
        _RULES.update(dict.fromkeys(op_types, rule))
        return rule

    return register


class Wiring:
    """The axes of a graph that could be cut, and the links between them.

    Whatever axis of a node its rule does not speak of stays; so does everything around a node
    without a rule.

    Attributes:
        shapes: Symbolic shapes of the graph.
        facts: What is known of its values.
        sizes: Size by axis, of all axes of known size above one.
        links: All links.
        contractions: The node that every link was made for, by the link's identity.
    """

    def __init__(
        self,
        graph: ir.Graph,
        shapes: Shapes,
        facts: Facts,
        caches: Iterable[Cached] = (),
    ) -> None:
        self.shapes = shapes
        self.facts = facts
        self.sizes: dict[Axis, int] = {}
        self.links: list[Link] = []
        for node in graph:
            self._wire(node)
        states = list(caches)
        shrinking = {value for pair in states for value in pair}
        for value in graph.inputs:
            if value not in shrinking:
                self._hold_value(value, "it is an input of the model")
        for value in graph.outputs:
            if value not in shrinking:
                self._hold_value(value, "it is an output of the model")
        for before, after in states:
            self._tie_cache(before, after)

    # What rules ask.

    def rank(self, value: ir.Value | None) -> int | None:
        """Number of axes."""
        shape = self.shapes.of(value)
        return None if shape is None else len(shape)

    def input(self, node: ir.Node, index: int, axis: int) -> Axis | None:
        """An axis of an input, None unless its size is known and above one."""
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None:
            return None
        owner = Use(node, index) if is_constant(value) else value
        return self._axis(value, owner, axis)

    def output(self, node: ir.Node, axis: int, index: int = 0) -> Axis | None:
        """An axis of an output, None unless its size is known and above one."""
        value = node.outputs[index]
        return self._axis(value, value, axis)

    def virtual(self, node: ir.Node, size: int) -> Axis:
        """An axis that no tensor has, such as the groups of a convolution."""
        axis = Axis(Use(node, -1), 0)
        self.sizes[axis] = size
        return axis

    # What rules say.

    def tie(
        self,
        left: Axis | None,
        right: Axis | None,
        left_places: Places | None = None,
        right_places: Places | None = None,
    ) -> None:
        """Ties two axes, if both can be cut; one alone stays by default."""
        if left is not None and right is not None:
            self.links.append(Tie(left, right, left_places, right_places))

    def stay(self, axis: Axis | None, reason: str, places: Places | None = None) -> None:
        """Lets places stay."""
        if axis is not None:
            self.links.append(Stay(axis, reason, places))

    def free(self, axis: Axis | None) -> None:
        """Says that the node does not mind the axis's size."""
        if axis is not None:
            self.links.append(Free(axis))

    def grid(self, before: Sequence[Axis | int], after: Sequence[Axis | int]) -> None:
        """Says that axes are joined or split."""
        self.links.append(Grid(tuple(before), tuple(after)))

    def add(self, link: Link) -> None:
        """Adds any other link."""
        self.links.append(link)

    def _axis(self, value: ir.Value, owner: ir.Value | Use, axis: int) -> Axis | None:
        shape = self.shapes.of(value)
        if shape is None or not -len(shape) <= axis < len(shape):
            return None
        size = shape[axis].number
        if size is None or size <= 1:
            return None
        found = Axis(owner, axis % len(shape))
        self.sizes[found] = size
        return found

    def _wire(self, node: ir.Node) -> None:
        start = len(self.links)
        rule = None if node.domain else _RULES.get(node.op_type)
        if rule is not None:
            rule(self, node)
        spoken = {axis for link in self.links[start:] for axis in link.axes}
        what = f"{node.op_type} '{node.name}'" if node.name else node.op_type
        reason = f"{what} needs all of it" if rule is not None else f"{what} is not followed"
        for index, value in enumerate(node.inputs):
            for axis in range(self.rank(value) or 0):
                self._hold(self.input(node, index, axis), spoken, reason)
        for index, value in enumerate(node.outputs):
            for axis in range(self.rank(value) or 0):
                self._hold(self.output(node, axis, index), spoken, reason)
        for value in captured(node):
            self._hold_value(value, f"the body of {what} reads it")

    def _hold(self, axis: Axis | None, spoken: set[Axis], reason: str) -> None:
        if axis is not None and axis not in spoken:
            self.links.append(Stay(axis, reason))

    def _tie_cache(self, before: ir.Value, after: ir.Value) -> None:
        """What a state loses at the output it loses at the input, where it comes back."""
        a, b = self.shapes.of(before) or (), self.shapes.of(after) or ()
        reason = "the state of a stream changes its shape on the way"
        if len(a) != len(b):
            self._hold_value(before, reason)
            self._hold_value(after, reason)
            return
        for axis, (m, n) in enumerate(zip(a, b, strict=True)):
            here, there = self._axis(before, before, axis), self._axis(after, after, axis)
            if m.number == n.number:
                self.tie(here, there)
            else:  # a file may not say how long an axis of the next state is
                self.stay(here, reason)
                self.stay(there, reason)

    def _hold_value(self, value: ir.Value, reason: str) -> None:
        for axis in range(self.rank(value) or 0):
            self.stay(self._axis(value, value, axis), reason)


def is_constant(value: ir.Value) -> bool:
    """Whether a value is stored in the file and cannot be fed."""
    return value.const_value is not None and not value.is_graph_input()


def span(start: int, count: int) -> Places:
    """The places from ``start`` on."""
    return np.arange(start, start + count)

"""Cuts what the analysis found: constants, attributes, targets of Reshapes, biases.

Every constant is cut for one node at a time, as a private copy if others read it; copies that
come out equal are stored once. The order is: numbers for computed sizes, biases for what was
constant, then the cuts themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..rewrite import Patch, add_initializer, integers_of
from .analysis import Analysis
from .bias import fold_constants
from .contents import numbers
from .links import Axis, Flags, Use
from .wiring import is_constant

CutRule = Callable[["Surgery", ir.Node], None]

_RULES: dict[str, CutRule] = {}


def cut_rule(*op_types: str) -> Callable[[CutRule], CutRule]:
    """Registers what a node itself needs when one of its axes is cut."""

    def register(rule: CutRule) -> CutRule:
        _RULES.update(dict.fromkeys(op_types, rule))
        return rule

    return register


class Surgery:
    """One round of cuts in a graph.

    Attributes:
        graph: Changed in place.
        analysis: Of the graph as it was.
        removed: Stored numbers that every node reads no longer.
    """

    def __init__(self, graph: ir.Graph, analysis: Analysis) -> None:
        self.graph = graph
        self.analysis = analysis
        self.removed: defaultdict[ir.Node, int] = defaultdict(int)
        self._later: list[Callable[[], None]] = []
        self._copies: dict[tuple[ir.Value, tuple[tuple[int, bytes], ...]], ir.Value] = {}

    def operate(self) -> bool:
        """Cuts everything that may go; whether anything went."""
        need = self.analysis.need
        cut = [axis for axis in self.analysis.wiring.sizes if need.is_cut(axis)]
        if not cut:
            return False
        nodes = list(self.graph)
        write_known_sizes(self.graph, self.analysis)
        fold_constants(self)
        for node in nodes:
            rule = None if node.domain else _RULES.get(node.op_type)
            if rule is not None:
                rule(self, node)
            self._cut_constants(node)
        for axis in cut:
            if isinstance(axis.owner, ir.Value) and axis.owner.shape is not None:
                sizes = list(axis.owner.shape)
                sizes[axis.axis] = self.count(axis)
                axis.owner.shape = ir.Shape(sizes)
        for step in self._later:
            step()
        return True

    # What the rules ask.

    def kept(self, axis: Axis | None) -> Flags | None:
        """Which places stay; None for an axis that is never cut."""
        return None if axis is None else self.analysis.need.kept(axis)

    def is_cut(self, axis: Axis | None) -> bool:
        """Whether any place goes."""
        return axis is not None and self.analysis.need.is_cut(axis)

    def count(self, axis: Axis) -> int:
        """How many places stay."""
        return int(self.analysis.need.flags(axis).sum())

    def output_is_cut(self, node: ir.Node) -> bool:
        """Whether any axis of the first output is cut."""
        wiring = self.analysis.wiring
        rank = wiring.rank(node.outputs[0]) or 0
        return any(self.is_cut(wiring.output(node, axis)) for axis in range(rank))

    # What the rules do.

    def replace_numbers(self, node: ir.Node, index: int, new: list[int | None]) -> None:
        """Writes numbers into a vector of sizes that a node reads, for this node alone.

        Args:
            node: The node.
            index: Which input the vector is.
            new: The numbers; None keeps what is computed.
        """
        patch, old = Patch(node), node.inputs[index]
        # A Slice may read all of its vectors in int32.
        given = patch.ints(*(each or 0 for each in new), kind=integers_of(old))
        if all(each is not None for each in new):
            node.replace_input_with(index, given)
            return
        mask = patch.constant(np.array([each is not None for each in new]), "cut_where")
        node.replace_input_with(index, patch.op("Where", mask, given, old))

    def later(self, step: Callable[[], None]) -> None:
        """Does something when all cuts are done."""
        self._later.append(step)

    def _cut_constants(self, node: ir.Node) -> None:
        for index, value in enumerate(node.inputs):
            if value is None or not is_constant(value) or value.const_value is None:
                continue
            keeps = []
            for axis in range(len(value.const_value.shape)):
                flags = self.kept(Axis(Use(node, index), axis))
                if flags is not None and not flags.all():
                    keeps.append((axis, flags))
            if keeps:
                copy = self._copy(value, keeps)
                self.removed[node] += value.const_value.size - _size(copy)
                node.replace_input_with(index, copy)

    def _copy(self, value: ir.Value, keeps: list[tuple[int, Flags]]) -> ir.Value:
        key = (value, tuple((axis, flags.tobytes()) for axis, flags in keeps))
        if key not in self._copies:
            assert value.const_value is not None
            array = value.const_value.numpy()
            for axis, flags in keeps:
                array = np.compress(flags, array, axis=axis)
            tensor = ir.tensor(np.ascontiguousarray(array), dtype=value.const_value.dtype)
            self._copies[key] = add_initializer(self.graph, f"{value.name}.cut", tensor)
        return self._copies[key]


def _size(value: ir.Value) -> int:
    return 0 if value.const_value is None else int(value.const_value.size)


def write_known_sizes(graph: ir.Graph, analysis: Analysis) -> None:
    """Sizes that are computed but known become numbers: no cut may change what they mean."""
    for node in graph:
        if node.domain or len(node.outputs) != 1 or not node.inputs:
            continue
        value = node.outputs[0]
        found = numbers(analysis.shapes.content(value))
        content = analysis.shapes.content(value)
        if found is None or content is None or value.is_graph_output() or value.dtype is None:
            continue
        array: npt.NDArray[Any] = np.array(found).reshape(content.shape).astype(value.dtype.numpy())
        new = add_initializer(graph, f"{value.name}.known", array)
        ir.convenience.replace_all_uses_with(value, new)

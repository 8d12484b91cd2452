"""Forward analysis: the facts about all values of a graph, node by node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .known import Fact, unknown, useful
from .shapes import Shapes

#: Facts about a node's outputs from those about its inputs; None for outputs nothing is known of.
FactRule = Callable[["Facts", ir.Node], "list[Fact | None]"]

_RULES: dict[str, FactRule] = {}


def fact_rule(*op_types: str) -> Callable[[FactRule], FactRule]:
    """Registers the rule of operators of the standard domain."""

    def register(rule: FactRule) -> FactRule:
        _RULES.update(dict.fromkeys(op_types, rule))
        return rule

    return register


class Facts:
    """What is known of every value.

    Constants are known as they are. Values computed from constants alone (dequantised weights)
    are computed when they are asked for and not kept.
    """

    def __init__(self, graph: ir.Graph, shapes: Shapes) -> None:
        self.shapes = shapes
        self._facts: dict[ir.Value, Fact] = {}
        self._fixed: set[ir.Value] = set()
        for node in graph:
            if _is_fixed(node, self._fixed):
                self._fixed.update(node.outputs)
                continue
            for value, fact in zip(node.outputs, self._apply(node), strict=False):
                if fact is not None and self._fits(value, fact):
                    self._facts[value] = fact

    def of(self, value: ir.Value | None) -> Fact | None:
        """What is known of a value, None for nothing."""
        if value is None:
            return None
        array = self.constant(value)
        if array is not None:
            return array if array.dtype.kind in "fiub" else None
        return self._facts.get(value)

    def or_unknown(self, value: ir.Value | None) -> Fact | None:
        """As ``of``, with an array of NaN where nothing is known; None if the rank is unknown."""
        fact = self.of(value)
        if fact is not None:
            return fact
        shape = self.shapes.of(value)
        return None if shape is None else unknown(len(shape))

    def constant(self, value: ir.Value | None) -> npt.NDArray[Any] | None:
        """The array of a constant, or of what is computed from constants alone."""
        if value is None or value.is_graph_input():
            return None
        if value.const_value is not None:
            return _floats(value.const_value.numpy())
        producer = value.producer()
        if producer is None or value not in self._fixed:
            return None
        found = self._apply(producer)
        fact = found[value.index() or 0] if found else None
        return None if fact is None or np.isnan(fact).any() else fact

    def is_fixed(self, value: ir.Value | None) -> bool:
        """Whether a value is a constant or computed from constants alone."""
        return value is not None and (
            value in self._fixed or (value.const_value is not None and not value.is_graph_input())
        )

    def _apply(self, node: ir.Node) -> list[Fact | None]:
        rule = None if node.domain else _RULES.get(node.op_type)
        return [] if rule is None else [useful(each) for each in rule(self, node)]

    def _fits(self, value: ir.Value, fact: Fact) -> bool:
        """A rule's result is only trusted where it agrees with the shape."""
        shape = self.shapes.of(value)
        return (
            shape is not None
            and len(shape) == fact.ndim
            and all(n in (1, s.number) for n, s in zip(fact.shape, shape, strict=True))
        )


def _is_fixed(node: ir.Node, fixed: set[ir.Value]) -> bool:
    """Whether a node computes from constants alone (dequantises or transposes a weight)."""
    return bool(node.inputs) and all(
        each is None
        or each in fixed
        or (each.const_value is not None and not each.is_graph_input())
        for each in node.inputs
    )


def _floats(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Numpy arithmetic on what ml_dtypes add needs a plain float."""
    return array if array.dtype.kind in "fiubOSU" else array.astype(np.float32)

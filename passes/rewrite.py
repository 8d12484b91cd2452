"""Surgery shared by the passes: new nodes and constants before an old node, values replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from .base import LAYER_KEY

Attribute = int | float | str | Sequence[int] | Sequence[float]

#: Operators that read a value's shape only, whatever its numbers are.
SHAPE_READERS = frozenset(("Shape", "Size"))


class Patch:
    """Writes nodes in front of ``anchor``, or behind it; they belong to the anchor's layer.

    Attributes:
        graph: The graph that is written to.
        anchor: Nodes are inserted directly before this one, in the order they are made.
        name: Prefix of the names of new nodes, values and constants.
        behind: Whether they are inserted directly after it instead.
    """

    def __init__(self, anchor: ir.Node, name: str | None = None, *, behind: bool = False) -> None:
        if anchor.graph is None:
            raise ValueError(f"node {anchor.name} is in no graph")
        self.graph = anchor.graph
        self.anchor = anchor
        self.name = name or anchor.name or anchor.outputs[0].name or anchor.op_type
        self._layer = anchor.metadata_props.get(LAYER_KEY)
        self._count = 0
        self._last = anchor if behind else None

    def op(
        self, op_type: str, *inputs: ir.Value | None, domain: str = "", **attributes: Attribute
    ) -> ir.Value:
        """Adds a node with one output and returns that output."""
        return self.node(op_type, inputs, attributes, domain=domain).outputs[0]

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        outputs: int = 1,
        domain: str = "",
    ) -> ir.Node:
        """Adds a node and returns it; its outputs are named after the patch and the operator."""
        node = ir.node(
            op_type,
            list(inputs),
            dict(attributes or {}),
            domain=domain,
            num_outputs=outputs,
            name=f"{self.name}/{op_type}.{self._count}",
        )
        self._count += 1
        if self._layer:
            node.metadata_props[LAYER_KEY] = self._layer
        if self._last is None:
            self.graph.insert_before(self.anchor, node)
        else:
            self.graph.insert_after(self._last, node)
            self._last = node
        return node

    def constant(self, array: np.ndarray | ir.TensorProtocol, name: str) -> ir.Value:
        """Adds an initializer ``<patch>.<name>``; equal names get a number."""
        return add_initializer(self.graph, f"{self.name}.{name}", array)

    def ints(self, *numbers: int, kind: ir.DataType = ir.DataType.INT64) -> ir.Value:
        """A vector of integers, of int64 by default; equal ones are stored once in the graph."""
        word = "ints" if kind is ir.DataType.INT64 else kind.name.lower()
        return self.shared(
            np.array(numbers, kind.numpy()), f"{word}[{','.join(map(str, numbers))}]"
        )

    def shared(self, array: np.ndarray, name: str) -> ir.Value:
        """An initializer ``confpress.<name>`` that the graph holds once: the name says it all."""
        full = f"confpress.{name}"
        existing = self.graph.initializers.get(full)
        return existing or add_initializer(self.graph, full, array)


def add_initializer(
    graph: ir.Graph | ir.Function, name: str, array: np.ndarray | ir.TensorProtocol
) -> ir.Value:
    """Stores a constant in the graph under a name that is free."""
    if not isinstance(graph, ir.Graph):
        raise TypeError(f"{name}: functions hold no initializers")
    free, number = name, 1
    while free in graph.initializers:
        free, number = f"{name}.{number}", number + 1
    tensor = ir.tensor(array, name=free) if isinstance(array, np.ndarray) else array
    value = ir.Value(
        name=free,
        const_value=tensor,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape(tensor.numpy().shape),
    )
    graph.register_initializer(value)
    return value


def scale_input(node: ir.Node, index: int, factor: float | np.ndarray) -> ir.Value:
    """Gives one input of one node a scaled copy of its constant, and returns that."""
    old = node.inputs[index]
    array = constant(old)
    assert old is not None and array is not None, "it is stored"
    scaled = Patch(node, old.name).constant(np.asarray(array * factor, array.dtype), "scaled")
    node.replace_input_with(index, scaled)
    return scaled


def replace_value(old: ir.Value, new: ir.Value) -> None:
    """Every use of ``old`` becomes a use of ``new``, graph outputs included (names are kept).

    Where ``new`` cannot be the output that ``old`` is, a copy of it is.
    """
    if new.shape is None:
        new.shape = old.shape
    if new.type is None:
        new.type = old.type
    if old.is_graph_output():
        beside = old.producer()
        assert beside is not None, "a node computes it"
        if not may_be_renamed(new, beside):
            new = _copied(new, beside)
        name = old.name
        old.name = f"{name}.replaced"
        new.name = name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def may_be_renamed(value: ir.Value, beside: ir.Node) -> bool:
    """Whether a value can be the output of a node's graph: made in it, and no output yet."""
    producer = value.producer()
    return producer is not None and producer.graph is beside.graph and not value.is_graph_output()


def _copied(value: ir.Value, beside: ir.Node) -> ir.Value:
    """A copy of a value in a node's graph, which may be the body of an If or a Loop."""
    producer = value.producer()
    is_here = producer is not None and producer.graph is beside.graph
    patch = Patch(producer, behind=True) if producer is not None and is_here else Patch(beside)
    copy = patch.op("Identity", value)
    copy.type, copy.shape = value.type, value.shape
    return copy


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array of a constant value (initializer or Constant node), or None."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def integers_of(vector: ir.Value | None) -> ir.DataType:
    """The type of a vector of integers, int64 where inference does not know it."""
    return (None if vector is None else vector.dtype) or ir.DataType.INT64


def is_known(size: int | ir.SymbolicDim) -> bool:
    """Whether an axis has a size, or a name for it."""
    return isinstance(size, int) or size.value is not None


def scalar(value: ir.Value | None) -> float | None:
    """The number of a constant with one element, or None."""
    array = constant(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node of a standard operator that computes a value, or None where another does."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type and not node.domain else None

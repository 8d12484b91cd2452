"""A part of a graph, evaluated on small arrays: the proof that an operator may replace it.

Exporters spell one computation in many ways, and a pattern of nodes proves nothing about the sizes
that a Reshape computes. So a fusion reads the operator's parameters off the graph in the simplest
way and then evaluates both, the part of the graph and the operator's function body, on the same
random inputs with ONNX's reference implementation. Sizes that come from outside the part are those
of the axes of the same name inside; where there are none they are not known, and a Reshape that
keeps its first sizes is understood without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import RuntimeTypeError

from ..rewrite import constant

Array = npt.NDArray[Any]

#: Operators that compute sizes; they pass on what is not known, as NaN in place of an integer.
_SIZE_OPS = frozenset((
    "Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Add", "Sub", "Mul", "Div", "Mod", "Cast",
))  # fmt: skip
#: Of these, what chooses among sizes: all inputs but the first are places.
_CHOOSING = frozenset(("Gather", "Slice", "Unsqueeze", "Squeeze"))
#: Where a size is needed, values further away than this are not asked.
_MOST_STEPS = 64


class NotFusedError(Exception):
    """Why a part of a graph stays as it is, in a sentence."""


class RegionError(NotFusedError):
    """Why a part of a graph cannot be evaluated, in a sentence."""


def unlike(difference: float) -> str:
    """How what a graph computes differs from an operator in a trial, in words."""
    if np.isinf(difference):
        return "in a trial its arrays have other sizes than those that the operator expects"
    return f"what it computes differs from the operator by {difference:.2g} in a trial"


class Region:
    """The nodes that compute a value from given values, constants and sizes.

    Args:
        graph: The graph.
        inputs: Values that are given.
        output: The value that is computed.

    Attributes:
        nodes: In graph order.
        output: The value that is computed.
    """

    def __init__(self, graph: ir.Graph, inputs: Iterable[ir.Value], output: ir.Value) -> None:
        self.output = output
        self._inputs = set(inputs)
        found: set[ir.Node] = set()
        pending = [output]
        while pending:
            value = pending.pop()
            node = value.producer()
            if value in self._inputs or node is None or node in found:
                continue
            if constant(value) is not None:
                continue
            found.add(node)
            if node.op_type != "Shape" or self._is_inside(node.inputs[0]):
                pending.extend(v for v in node.inputs if v is not None)
        self.nodes = [node for node in graph if node in found]

    def _is_inside(self, value: ir.Value | None) -> bool:
        """Whether a value is computed from the region's inputs and constants alone."""
        pending, seen = [value], set[ir.Value]()
        while pending:
            current = pending.pop()
            if current is None or current in seen or current in self._inputs:
                continue
            if constant(current) is not None:
                continue
            seen.add(current)
            node = current.producer()
            if node is None or len(seen) > _MOST_STEPS:
                return False
            pending.extend(node.inputs)
        return True

    def evaluate(self, arrays: Mapping[ir.Value, Array]) -> Array:
        """The output for arrays in place of the inputs.

        Raises:
            RegionError: A value from outside takes part by more than its sizes, or a size that
                matters is not known.
            ValueError: The sizes, or the types of the numbers, do not fit.
        """
        known = dict(arrays)
        axes = _sizes_of_axes(arrays)
        for node in self.nodes:
            source = node.inputs[0] if node.inputs else None
            if node.op_type == "Shape" and source is not None and source not in known:
                known[node.outputs[0]] = _outside_sizes(node, source, axes)
                continue
            inputs = [None if v is None else _array(v, known) for v in node.inputs]
            known.update(zip(node.outputs, _run(node, inputs), strict=False))
        return known[self.output]

    def attempt(self, arrays: Mapping[ir.Value, Array]) -> Array | None:
        """What `evaluate` gives; None where it raises, for passes that then look no further."""
        try:
            return self.evaluate(arrays)
        except (RegionError, ValueError):
            return None


def _array(value: ir.Value, known: Mapping[ir.Value, Array]) -> Array:
    array = known.get(value)
    if array is None:
        array = constant(value)
    if array is None:
        raise RegionError(
            f"it also depends on '{value.name}', which is none of the values that the operator "
            "takes"
        )
    return array


def _sizes_of_axes(arrays: Mapping[ir.Value, Array]) -> dict[int | str, float]:
    """What axes are in the arrays, by their names or sizes in the graph; NaN if not one size.

    A graph may be for 250 frames and the arrays have three: 250 is then no size that is known.
    """
    found: dict[int | str, float] = {}
    for value, array in arrays.items():
        if value.shape is None or len(value.shape) != array.ndim:
            continue
        for axis, size in zip(value.shape, array.shape, strict=True):
            name = _name(axis)
            stated = name if isinstance(name, int) else size
            if name is not None and found.setdefault(name, stated) != size:
                found[name] = np.nan
    return found


def _outside_sizes(node: ir.Node, source: ir.Value, axes: Mapping[int | str, float]) -> Array:
    """What a Shape node gives of a value outside; NaN for sizes that are not known."""
    sizes = []
    for name in map(_name, () if source.shape is None else source.shape):
        stated = name if isinstance(name, int) else np.nan
        sizes.append(stated if name is None else axes.get(name, stated))
    start = node.attributes.get_int("start", 0)
    found = np.array(sizes, np.float64)[start : node.attributes.get_int("end", len(sizes))]
    return found if np.isnan(found).any() else found.astype(np.int64)


def _name(axis: int | ir.SymbolicDim) -> int | str | None:
    return axis if isinstance(axis, int) else axis.value


def _run(node: ir.Node, inputs: list[Array | None]) -> list[Array]:
    """The outputs of one node."""
    if not any(a is not None and a.dtype == np.float64 for a in inputs):
        return _reference(node, inputs)
    if node.op_type == "Reshape" and inputs[0] is not None and inputs[1] is not None:
        return [inputs[0].reshape(_sizes(inputs[0].shape, inputs[1]))]
    if node.op_type not in _SIZE_OPS:
        raise RegionError(f"the sizes that {node.op_type} '{node.name}' takes are not known")
    chooses = node.op_type in _CHOOSING
    floats = [
        a if a is None or (chooses and i > 0) else a.astype(np.float64)
        for i, a in enumerate(inputs)
    ]
    known = [a for a in floats if a is not None]
    if node.op_type == "Cast":
        return known
    # The reference implementation of Mod makes zeros of what is not known.
    found = [np.mod(known[0], known[1])] if node.op_type == "Mod" else _reference(node, floats)
    sizes = [np.floor(a) for a in found]
    return [a if np.isnan(a).any() else a.astype(np.int64) for a in sizes]


def _sizes(shape: tuple[int, ...], target: Array) -> list[int]:
    """The sizes of a Reshape: one that is not known is that of the input's axis at its place."""
    sizes: list[int] = []
    for axis, size in enumerate(target.reshape(-1).tolist()):
        if (np.isnan(size) or size == 0) and axis >= len(shape):
            raise RegionError("a Reshape computes sizes of axes that its input does not have")
        sizes.append(shape[axis] if np.isnan(size) or size == 0 else int(size))
    if sizes.count(-1) != 1 and np.prod(sizes) != np.prod(shape):
        raise RegionError("a Reshape does not keep the first sizes of its input")
    return sizes


def _reference(node: ir.Node, inputs: list[Array | None]) -> list[Array]:
    opset = node.graph.opset_imports.get("", 1) if isinstance(node.graph, ir.Graph) else 1
    feeds = {f"i{i}": a for i, a in enumerate(inputs) if a is not None}
    return _evaluate(node, [None if a is None else f"i{i}" for i, a in enumerate(inputs)], feeds,
                     {"": opset}, ())  # fmt: skip


def evaluate_operator(
    node: ir.Node, function: ir.Function, arrays: Mapping[ir.Value, Array]
) -> Array:
    """What an operator's function body makes of arrays in place of its node's inputs."""
    names = {v: f"i{i}" for i, v in enumerate(node.inputs) if v is not None}
    feeds = {name: _array(v, arrays) for v, name in names.items()}
    opsets = {"": function.opset_imports[""], node.domain: 1}
    inputs = [None if v is None else names[v] for v in node.inputs]
    return _evaluate(node, inputs, feeds, opsets, [function])[0]


def _evaluate(
    node: ir.Node,
    inputs: Iterable[str | None],
    feeds: Mapping[str, Array],
    opsets: Mapping[str, int],
    functions: Sequence[ir.Function],
) -> list[Array]:
    """Runs one node in ONNX's reference implementation."""
    values = {
        name: ir.val(name, ir.DataType.from_numpy(a.dtype), [None] * a.ndim)
        for name, a in feeds.items()
    }
    copy = ir.Node(
        node.domain,
        node.op_type,
        [None if name is None else values[name] for name in inputs],
        list(node.attributes.values()),
        num_outputs=len(node.outputs),
    )
    for i, value in enumerate(copy.outputs):
        value.name = f"o{i}"
    graph = ir.Graph(
        list(values.values()), copy.outputs, nodes=[copy], opset_imports=dict(opsets), name="node"
    )
    model: onnx.ModelProto = ir.to_proto(ir.Model(graph, ir_version=10, functions=functions))
    # The reference implementation computes branches that it does not take.
    with np.errstate(all="ignore"):
        try:
            return [np.asarray(a) for a in ReferenceEvaluator(model).run(None, dict(feeds))]
        except (IndexError, TypeError, RuntimeTypeError) as error:
            # Where sizes or types do not fit, as numpy's ValueError.
            raise ValueError(str(error)) from error

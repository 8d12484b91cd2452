"""What queries meet beside keys where no layer projects it: vectors by distance.

Shaw's relative positions (Shaw et al. 2018) are a vector for every pair of frames. Exporters look
one up for every query and key, [Tq, Tk, dh], although it depends on their distance alone; where the
numbers of frames are constant, they store what they found. What the operator reads has every
distance once, [1, Tq + Tk - 1, dh], from the first key of the last query up, and all heads share
it. Projected positions (Dai et al. 2019) are stored for constant numbers of frames, too.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ..rewrite import Patch, constant, scalar
from .region import Array, NotFusedError

_MOVES = frozenset(("Reshape", "Unsqueeze", "Squeeze", "Transpose", "Identity"))
#: Element by element, with constants.
_POINTWISE = frozenset((
    "Clip", "Min", "Max", "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Cast", "Identity",
))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Distances:
    """A table of vectors and which of them every pair of frames takes.

    Attributes:
        table: Constant [rows, dh].
        difference: The Sub of a column and a row of numbers that count frames from 0.
        keys_first: Whether keys less queries, not queries less keys.
        steps: What makes rows of the table of differences, element by element, the last first.
        by_pair: Whether the graph has a vector for every pair of frames, which all heads share.
    """

    by_pair: ClassVar = True

    table: ir.Value
    difference: ir.Value
    keys_first: bool
    steps: tuple[ir.Node, ...]

    def vectors(self, patch: Patch, queries: ir.Value, keys: ir.Value) -> ir.Value:
        """The vectors of all distances, [1, Tq + Tk - 1, dh], in new nodes.

        Args:
            patch: Where the nodes go.
            queries: Any value [batch, Tq, features].
            keys: Any value [batch, Tk, features].
        """
        one = patch.shared(np.array(1), "one")
        before, after = (
            patch.op("Squeeze", patch.op("Shape", value, start=1, end=2))
            for value in (queries, keys)
        )
        rows = patch.op("Range", patch.op("Sub", one, before), after, one)
        found = {self.difference: rows if self.keys_first else patch.op("Neg", rows)}
        for step in reversed(self.steps):
            inputs = [v if v is None else found.get(v, v) for v in step.inputs]
            copy = patch.node(step.op_type, inputs)
            copy.attributes.update(step.attributes)
            found[step.outputs[0]] = rows = copy.outputs[0]
        return patch.op("Unsqueeze", patch.op("Gather", self.table, rows, axis=0), patch.ints(0))


@dataclasses.dataclass(frozen=True)
class StoredDistances:
    """Vectors that were looked up for constant numbers of frames.

    Attributes:
        rows: What the operator reads, [1, Tq + Tk - 1, dh].
        by_pair: Whether the graph has a vector for every pair of frames, which all heads share.
    """

    by_pair: ClassVar = True

    rows: Array

    def vectors(self, patch: Patch, queries: ir.Value, keys: ir.Value) -> ir.Value:
        """The vectors of all distances, a constant; see :meth:`Distances.vectors`."""
        del queries, keys
        return patch.constant(self.rows, "positions")


@dataclasses.dataclass(frozen=True)
class StoredProjections:
    """Positions of every head, projected when the model was exported for one number of frames.

    Attributes:
        rows: What the operator reads, [1, distances, H · dh].
        by_pair: Whether the graph has a vector for every pair of frames, which all heads share.
    """

    by_pair: ClassVar = False

    rows: Array

    def vectors(self, patch: Patch, queries: ir.Value, keys: ir.Value) -> ir.Value:
        """The rows of so many frames, a constant; see :meth:`Distances.vectors`.

        NeMo's streams have 2 keys - 1 distances also where there are fewer queries.
        """
        frames = [value.shape[1] if value.shape else None for value in (queries, keys)]
        known = [each for each in frames if isinstance(each, int)]
        needed = sum(known) - 1 if len(known) == len(frames) else None
        return patch.constant(self.rows[:, :needed], "positions")


def read_projections(value: ir.Value, shape: tuple[int, int]) -> StoredProjections:
    """Reads what queries meet, [H, dh, distances] or the same for a batch of one.

    Raises:
        NotFusedError: It is not stored, or laid out otherwise.
    """
    stored = constant(value)
    if stored is None:
        raise NotFusedError("no layer projects its relative positions")
    if stored.ndim < 3 or stored.shape[-3:-1] != shape or stored.size != np.prod(stored.shape[-3:]):
        raise NotFusedError(
            f"its stored positions {[*stored.shape]} do not have the axes [heads, size, distances]"
        )
    by_head = stored.reshape(stored.shape[-3:])
    return StoredProjections(by_head.transpose(2, 0, 1).reshape(1, -1, shape[0] * shape[1]))


def read_distances(value: ir.Value) -> Distances | StoredDistances:
    """Reads the look-up of a value [Tq, Tk, dh], or [Tq, dh, Tk] where that is stored.

    Raises:
        NotFusedError: It is no look-up by distance.
    """
    stored = constant(value)
    if stored is not None and stored.ndim == 3:
        return _read_stored(stored)
    node = value.producer()
    table = node.inputs[0] if node is not None and node.op_type == "Gather" else None
    array = constant(table)
    if node is None or table is None or array is None or array.ndim != 2:
        raise NotFusedError("its positions are not looked up in a stored table")
    index, steps = node.inputs[1], list[ir.Node]()
    while index is not None and (step := index.producer()) is not None:
        computed = [v for v in step.inputs if v is not None and constant(v) is None]
        if step.op_type == "Sub" and len(computed) == 2:
            axes = [_counted_axis(v) for v in computed]
            if node.attributes.get_int("axis", 0) == 0 and set(axes) == {0, 1}:
                return Distances(table, index, axes[0] == 1, tuple(steps))
        numbers = [constant(v) for v in step.inputs]
        single = all(array is None or (array.size == 1 and array.ndim < 2) for array in numbers)
        if step.op_type not in _POINTWISE or len(computed) != 1 or not single:
            break
        steps.append(step)
        index = computed[0]
    raise NotFusedError("its positions are looked up by more than the distance of two frames")


def _read_stored(array: Array) -> StoredDistances:
    for pairs in (array, array.transpose(0, 2, 1)):
        rows = rows_of(pairs)
        if np.array_equal(looked_up(rows[0], *pairs.shape[:2]), pairs):
            return StoredDistances(rows)
    raise NotFusedError("its stored positions depend on more than the distance of two frames")


def rows_of(vectors: Array) -> Array:
    """What :meth:`Distances.vectors` gives for looked-up vectors [Tq, Tk, dh]."""
    return np.concatenate([vectors[-1], vectors[::-1][1:, -1]])[None]


def looked_up(rows: Array, queries: int, keys: int) -> Array:
    """Vectors [queries, keys, dh] whose rows by distance are given."""
    distance = queries - 1 - np.arange(queries)[:, None] + np.arange(keys)
    return np.asarray(rows[distance])


def _counted_axis(value: ir.Value) -> int | None:
    """The axis of two along which int64 numbers count up from zero; None where they do not."""
    shape = value.shape
    if shape is None or len(shape) != 2 or (shape[0] == 1) == (shape[1] == 1):
        return None
    current: ir.Value | None = value
    while current is not None and (node := current.producer()) is not None:
        if node.op_type == "Range":
            counts = [scalar(node.inputs[i]) for i in (0, 2)] == [0, 1]
            return int(shape[0] == 1) if counts and current.dtype is ir.DataType.INT64 else None
        if node.op_type not in _MOVES:
            return None
        current = node.inputs[0]
    return None

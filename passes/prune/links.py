"""What ties places on axes together, and how need spreads along these ties.

A *place* is one index on an axis of known size. Every place starts as not needed; links raise
places to needed until nothing changes. What is never raised can be cut out of the graph: the
result is the least solution of Horn clauses ("if that place stays, this one stays").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

if TYPE_CHECKING:
    from .need import Need

Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Use:
    """A constant as one input of one node: cut for this node alone, whoever else reads it."""

    node: ir.Node
    index: int


class Axis(NamedTuple):
    """An axis of a computed value, or of a constant as one node reads it.

    A ``Use`` with a negative index stands for what is no tensor: the groups of a convolution.
    """

    owner: ir.Value | Use
    axis: int


class Link:
    """A relation between axes that a node imposes."""

    @property
    def axes(self) -> tuple[Axis, ...]:
        """All axes whose cuts the node can follow through this link."""
        raise NotImplementedError

    def spread(self, need: Need) -> None:
        """Raises what must stay because of what is already known to stay."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Tie(Link):
    """Places that stay or go together, one by one.

    Attributes:
        left: An axis.
        right: Another axis.
        left_places: Its places, or None for all.
        right_places: As many places of the other axis, or None for all.
    """

    left: Axis
    right: Axis
    left_places: Places | None = None
    right_places: Places | None = None

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.left, self.right

    def spread(self, need: Need) -> None:
        a, b = need.flags(self.left), need.flags(self.right)
        left = slice(None) if self.left_places is None else self.left_places
        right = slice(None) if self.right_places is None else self.right_places
        stays = a[left] | b[right]
        need.raise_places(self.left, left, stays, need.causes(self.right)[right])
        need.raise_places(self.right, right, stays, need.causes(self.left)[left])


@dataclasses.dataclass(frozen=True)
class Grid(Link):
    """Axes that a Reshape joins or splits: a place stays if it stays on all axes of either side.

    Attributes:
        before: Axes of one side, outermost first; a number stands for an axis that is never cut.
        after: Axes of the other side, of the same product.
    """

    before: tuple[Axis | int, ...]
    after: tuple[Axis | int, ...]

    @property
    def axes(self) -> tuple[Axis, ...]:
        return tuple(each for each in (*self.before, *self.after) if isinstance(each, Axis))

    def spread(self, need: Need) -> None:
        for source, target in ((self.before, self.after), (self.after, self.before)):
            stays = _outer([_flags(need, each) for each in source])
            sizes = [need.flags(each).size if isinstance(each, Axis) else each for each in target]
            cells = stays.reshape(sizes)
            cause = next((need.any_cause(each) for each in source if isinstance(each, Axis)), 0)
            for index, each in enumerate(target):
                if isinstance(each, Axis):
                    others = tuple(i for i in range(len(sizes)) if i != index)
                    flags = np.asarray(cells.any(axis=others))
                    need.raise_places(each, slice(None), flags, np.full(flags.size, cause))


@dataclasses.dataclass(frozen=True)
class Stay(Link):
    """Places that must stay, and why.

    Attributes:
        axis: The axis.
        reason: Completes "… cannot go because …".
        places: The places, or None for all.
    """

    axis: Axis
    reason: str
    places: Places | None = None

    @property
    def axes(self) -> tuple[Axis, ...]:
        return (self.axis,)

    def spread(self, need: Need) -> None:
        places = slice(None) if self.places is None else self.places
        size = need.flags(self.axis)[places].size
        cause = need.reason(self.reason)
        need.raise_places(self.axis, places, np.ones(size, bool), np.full(size, cause))


@dataclasses.dataclass(frozen=True)
class Free(Link):
    """An axis that the node can make in any size: an Expand's, a ConstantOfShape's."""

    axis: Axis

    @property
    def axes(self) -> tuple[Axis, ...]:
        return (self.axis,)

    def spread(self, need: Need) -> None:
        """Asks for nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Contraction(Link):
    """A sum over an axis of products with a constant: ``y[j] = Σ_i x[i] · w[i, j]``.

    A place i may go if it is constant, or if no j that stays has a weight for it. A constant that
    is not zero is folded into the bias.

    Attributes:
        node: The MatMul, Gemm or Conv.
        input: The axis of x that is summed over.
        weight: The same axis of w.
        output: The axis of y, None if it is of size one.
        matrix: Gives w, or where it is not zero, [inputs, outputs]. A function, so that the
            weights of a large model are not all in memory at once.
        known: What is known of x at every place, NaN for nothing; [inputs].
    """

    node: ir.Node
    input: Axis
    weight: Axis
    output: Axis | None
    matrix: Callable[[], npt.NDArray[Any]]
    known: npt.NDArray[np.floating[Any]]

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.input, self.weight

    @property
    def watched(self) -> tuple[Axis, ...]:
        """Axes whose change asks for another look."""
        return self.axes if self.output is None else (*self.axes, self.output)

    def spread(self, need: Need) -> None:
        flags = need.flags(self.input)
        open_places = np.flatnonzero(~flags & np.isnan(self.known))
        if open_places.size:
            matrix = self.matrix()
            if self.output is None:
                used = np.asarray(matrix[open_places].any(axis=1))
            else:
                part = matrix[np.ix_(open_places, need.flags(self.output))]
                used = np.asarray(part.any(axis=1))
            cause = need.reason("what it computes is used")
            need.raise_places(self.input, open_places, used, np.full(used.size, cause))
        Tie(self.input, self.weight).spread(need)


@dataclasses.dataclass(frozen=True, eq=False)
class Product(Link):
    """A sum over an axis of products of two computed values.

    A place may go if it is known to be zero in either.
    """

    left: Axis
    right: Axis
    zero: Flags

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.left, self.right

    def spread(self, need: Need) -> None:
        cause = need.reason("what it computes is used")
        need.raise_places(self.left, slice(None), ~self.zero, np.full(self.zero.size, cause))
        Tie(self.left, self.right).spread(need)


def _flags(need: Need, axis: Axis | int) -> Flags | int:
    return need.flags(axis) if isinstance(axis, Axis) else axis


def _outer(flags: Sequence[Flags | int]) -> Flags:
    """All combinations, in the order of a Reshape."""
    cells = np.ones(1, bool)
    for each in flags:
        row = each if isinstance(each, np.ndarray) else np.ones(each, bool)
        cells = (cells[:, None] & row[None, :]).reshape(-1)
    return cells

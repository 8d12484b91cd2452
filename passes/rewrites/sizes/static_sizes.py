"""Axes of free size made constant, so that what follows of them can be folded.

Compilers for accelerators and phones want every shape known. With the number of frames known, masks
of full length, position tables and their projections are constants, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import onnx_ir as ir

from ...base import InPlacePass, Journal, PassResult
from ...errors import ConfpressError


@dataclasses.dataclass(frozen=True)
class StaticSizes(InPlacePass):
    """Gives named axes of the inputs, and of what is computed from them, a size.

    Outputs get theirs by inference alone: people name their axes, and icefall's scripts call the
    frames in front of the subsampling and behind it by one name.

    Attributes:
        sizes: By the axis' name in the file (``batch``, ``time``).

    Raises:
        ConfpressError: no input has an axis of that name, or a size is below 1.
    """

    sizes: Mapping[str, int]

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        known = {str(axis) for value in model.graph.inputs for axis in _free_axes(value)}
        for name, size in self.sizes.items():
            if size < 1:
                raise ConfpressError(f"axis '{name}' cannot have size {size}; sizes begin at 1.")
            if name not in known:
                raise ConfpressError(
                    f"no input has a free axis called '{name}'; there are: "
                    f"{', '.join(sorted(known)) or 'none'}."
                )
            journal.change(name, f"has size {size}")
        for value in _values(model.graph):
            if value.shape is not None:
                sized = self._size if _names_are_known(value) else self._unless_named
                value.shape = ir.Shape([sized(axis) for axis in value.shape])
        return journal.result(model)

    def _size(self, axis: int | ir.SymbolicDim) -> int | ir.SymbolicDim:
        return axis if isinstance(axis, int) else self.sizes.get(str(axis.value), axis)

    def _unless_named(self, axis: int | ir.SymbolicDim) -> int | ir.SymbolicDim:
        return axis if self._size(axis) is axis else ir.SymbolicDim(None)


def _names_are_known(value: ir.Value) -> bool:
    return value.is_graph_input() or not value.is_graph_output()


def _free_axes(value: ir.Value) -> Iterator[str]:
    for axis in value.shape or ():
        if isinstance(axis, ir.SymbolicDim) and axis.value is not None:
            yield axis.value


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs

"""What every pass of ours returns: the changes it made and, in a sentence each, what it refused.

``onnx_ir.passes.Sequential`` keeps only whether anything changed; :func:`run` keeps the rest.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable

import onnx_ir as ir
import onnx_ir.passes.common as common
from onnx_ir.passes import InPlacePass

#: Key of ``node.metadata_props`` that holds the stable layer id (``encoder.layers.3.conv``).
LAYER_KEY = "confpress.layer"


@dataclasses.dataclass(frozen=True)
class Change:
    """One thing that a pass did.

    Attributes:
        where: Layer id, or the name of the node or value.
        what: What happened there, in a few words.
    """

    where: str
    what: str


@dataclasses.dataclass(frozen=True)
class Refusal:
    """One place that a pass looked at and left alone.

    Attributes:
        where: Layer id, or the name of the node or value.
        reason: Why, in a sentence that helps the reader to mend it.
    """

    where: str
    reason: str


@dataclasses.dataclass
class PassResult(ir.passes.PassResult):
    """A pass's result with the record of what it did.

    Attributes:
        changes: What was done, in the order it was done.
        refusals: What was left alone, and why.
    """

    changes: tuple[Change, ...] = ()
    refusals: tuple[Refusal, ...] = ()


class Journal:
    """Collects changes and refusals while a pass runs."""

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self._refusals: list[Refusal] = []

    def change(self, where: str | None, what: str) -> None:
        """Notes one change."""
        self._changes.append(Change(where or "model", what))

    def refuse(self, where: str | None, reason: str) -> None:
        """Notes one refusal."""
        self._refusals.append(Refusal(where or "model", reason))

    def refuse_unknown(self, patterns: Iterable[str], graph: ir.Graph) -> None:
        """Notes patterns that no layer's id fits: a misspelt one would do nothing, unsaid."""
        layers = {layer_of(node) for node in graph}
        for pattern in patterns:
            if not fnmatch.filter(layers, pattern):
                self.refuse(pattern, "no layer has an id that fits this pattern")

    def extend(self, result: ir.passes.PassResult) -> None:
        """Takes over the record of a pass that ran as a part of this one."""
        if isinstance(result, PassResult):
            self._changes.extend(result.changes)
            self._refusals.extend(result.refusals)

    def result(self, model: ir.Model, *, modified: bool | None = None) -> PassResult:
        """The finished result; ``modified`` defaults to whether any change was noted."""
        changed = bool(self._changes) if modified is None else modified
        return PassResult(model, changed, tuple(self._changes), tuple(self._refusals))


def run(passes: Iterable[ir.passes.PassBase], model: ir.Model) -> PassResult:
    """Runs passes in order and gathers what each changed and refused.

    Nodes have names of their own afterwards, which ONNX Runtime and profiles ask for.

    Args:
        passes: Passes of ours or of onnx_ir, run in this order.
        model: The model; in-place passes modify it.

    Returns:
        The last pass's model with the changes and refusals of all of them.
    """
    journal = Journal()
    modified = False
    for each in passes:
        result = each(model)
        model = result.model
        modified |= result.modified
        journal.extend(result)
    if modified:
        common.NameFixPass()(model)
    return journal.result(model, modified=modified)


def layer_of(node: ir.Node) -> str:
    """The stable layer id stamped on a node by ``recognise``, or the node's name without one."""
    return node.metadata_props.get(LAYER_KEY) or node.name or node.op_type


__all__ = [
    "LAYER_KEY",
    "Change",
    "InPlacePass",
    "Journal",
    "PassResult",
    "Refusal",
    "layer_of",
    "run",
]

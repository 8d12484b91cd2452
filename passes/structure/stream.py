"""The stream from the features through the modules to the outputs, in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx_ir as ir

from .classify import Classified
from .flow import Flow
from .graph import ELEMENTWISE_OPS
from .modules import Kind, Norm


@dataclasses.dataclass(frozen=True)
class Stream:
    """The parts of the residual stream.

    Attributes:
        entry: Where the first module begins; what lies before is the subsampling.
        parts: Modules and the norms between and after them, in the order of data.
        end: Where the head begins.
    """

    entry: ir.Value
    parts: tuple[Classified | Norm, ...]
    end: ir.Value

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of the parts."""
        return [part.kind if isinstance(part, Classified) else Kind.NORM for part in self.parts]


def lay_out(flow: Flow, joins: Sequence[Classified], norms: Sequence[Norm]) -> Stream | None:
    """Puts modules and the norms between them in order; None without a known module.

    Joins before the first known module that hold convolutions alone (a convolution for positions,
    residual blocks of the front end) are left to the subsampling.
    """
    joins = _without_front_end(joins)
    if not any(c.kind is not Kind.OTHER for c in joins):
        return None
    parts: list[Classified | Norm] = []
    previous: ir.Value | None = None
    for classified in joins:
        if previous is not None:
            parts.extend(_norms_between(flow, previous, classified.join.stream, norms))
        parts.append(classified)
        previous = classified.join.output
    assert previous is not None, "there is at least one join"
    end = previous
    while (norm := _norm_after(flow, end, norms)) is not None:
        parts.append(norm)
        end = norm.output
    return Stream(entry=joins[0].join.stream, parts=tuple(parts), end=end)


def _without_front_end(joins: Sequence[Classified]) -> list[Classified]:
    rest = list(joins)
    while rest and rest[0].kind is Kind.OTHER and not rest[0].branch.linears:
        rest.pop(0)
    return rest


def _norms_between(
    flow: Flow, above: ir.Value, below: ir.Value, norms: Sequence[Norm]
) -> list[Norm]:
    nodes = set(flow.between(above, below)) if flow.dominates(above, below) else set()
    return [n for n in norms if nodes.issuperset(n.nodes) and flow.dominates(n.output, below)]


def _norm_after(flow: Flow, value: ir.Value, norms: Sequence[Norm]) -> Norm | None:
    """The first norm that reads a value, directly or after masks, clips and scales."""
    for norm in norms:
        if norm.output in flow and flow.dominates(value, norm.input):
            between = flow.between(value, norm.input)
            if all(node.op_type in ELEMENTWISE_OPS for node in between):
                return norm
    return None

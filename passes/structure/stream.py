"""The stream from the features through the modules to the outputs, in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx_ir as ir

from .classify import Classified
from .flow import Flow
from .graph import ELEMENTWISE_OPS
from .linear import Products
from .modules import Kind, Norm


@dataclasses.dataclass(frozen=True, eq=False)
class Transition:
    """Layers on the stream itself: a change of the frame rate or width between modules.

    Attributes:
        nodes: What stands between the modules, behind the norms of the one before.
        input: The stream before.
        output: The stream behind.
        reason: Why it is no known module, in a sentence.
    """

    nodes: tuple[ir.Node, ...]
    input: ir.Value
    output: ir.Value
    reason: str = (
        "layers stand on the residual stream itself, between modules, such as those that change "
        "the frame rate or the width; they are left as they are"
    )


Part = Classified | Norm | Transition


@dataclasses.dataclass(frozen=True)
class Stream:
    """The parts of the residual stream.

    Attributes:
        entry: Where the first module begins; what lies before is the subsampling.
        parts: Modules and what stands between and after them, in the order of data.
        end: Where the head begins.
        unowned: Nodes on the stream that belong to no module: masks, scales, skip connections.
    """

    entry: ir.Value
    parts: tuple[Part, ...]
    end: ir.Value
    unowned: frozenset[ir.Node]

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of the parts."""
        return [kind_of(part) for part in self.parts]


def kind_of(part: Part) -> Kind:
    """What a part does."""
    if isinstance(part, Classified):
        return part.kind
    return Kind.NORM if isinstance(part, Norm) else Kind.OTHER


def lay_out(
    flow: Flow, joins: Sequence[Classified], norms: Sequence[Norm], products: Products
) -> Stream | None:
    """Puts modules and what lies between them in order; None without a known module.

    Joins before the first known module that hold convolutions alone (a convolution for positions,
    residual blocks of the front end) are left to the subsampling.
    """
    joins = _without_front_end(joins)
    if not any(c.kind is not Kind.OTHER for c in joins):
        return None
    entry = joins[0].join.source
    taken = set(flow.between(flow.source, entry))
    taken.update(node for c in joins for node in c.join.nodes)
    parts: list[Part] = [joins[0]]
    unowned = set(flow.between(entry, joins[0].join.stream))
    end = joins[0].join.output
    for classified in joins[1:]:
        join = classified.join
        nodes = set(flow.between(end, join.source, join.stream)) - taken
        taken |= nodes
        found, end, masks = _norms_after(flow, end, [n for n in norms if nodes.issuperset(n.nodes)])
        rest = flow.sort(nodes.difference(masks, *(n.nodes for n in found)))
        parts.extend(found)
        unowned |= masks
        if any(n in products.linears or n in products.convolutions for n in rest):
            parts.append(Transition(tuple(rest), end, join.stream))
        else:
            unowned.update(rest)
        parts.append(classified)
        end = join.output
    found, end, masks = _norms_after(flow, end, norms)
    return Stream(entry, (*parts, *found), end, frozenset(unowned | masks))


def _without_front_end(joins: Sequence[Classified]) -> list[Classified]:
    rest = list(joins)
    while rest and rest[0].kind is Kind.OTHER and not rest[0].branch.linears:
        rest.pop(0)
    return rest


def _norms_after(
    flow: Flow, value: ir.Value, norms: Sequence[Norm]
) -> tuple[list[Norm], ir.Value, set[ir.Node]]:
    """The norms that follow a value one after the other, masks, clips and scales between.

    Returns:
        The norms, the last one's output (the value itself without any), the nodes between.
    """
    found: list[Norm] = []
    masks: set[ir.Node] = set()
    for norm in norms:
        if norm.output not in flow or not flow.dominates(value, norm.input):
            continue
        between = flow.between(value, norm.input)
        if all(node.op_type in ELEMENTWISE_OPS for node in between):
            found.append(norm)
            masks.update(between)
            value = norm.output
    return found, value, masks

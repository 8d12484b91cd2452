"""The modules of a model with their ids and nodes, before their layers are named."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import onnx_ir as ir

from ..base import LAYER_KEY
from .caches import find_caches
from .classify import Classified
from .flow import Flow
from .ids import block_of, module_of_layer, role_of
from .linear import Products
from .modules import Cache, Kind, attention_of
from .numbering import number
from .ownership import spread_ownership
from .stream import Part, Stream, kind_of


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A module to be.

    Attributes:
        id: Stable name.
        kind: What it does.
        part: What it is made of; None for subsampling, table and head.
        nodes: What the stream's data passes through; later also what serves it alone.
        input: What it reads.
        output: What it puts out.
        caches: Streaming states that enter it.
    """

    id: str
    kind: Kind
    part: Part | None
    nodes: tuple[ir.Node, ...]
    input: ir.Value | None
    output: ir.Value
    caches: tuple[Cache, ...] = ()

    @property
    def layer(self) -> int | None:
        """The index of its block, by its id."""
        return block_of(self.id)


def plan_modules(
    graph: ir.Graph, flow: Flow, stream: Stream, products: Products
) -> tuple[Plan, ...]:
    """Names every part of the stream and gives it the nodes that serve it alone."""
    plans = [
        *_subsampling(flow, stream, products),
        *_position_tables(stream),
        *_parts(stream),
    ]
    plans.extend(_head(flow, stream, products, plans))
    plans = _with_kept_ids(plans)
    cores = {node: plan.id for plan in reversed(plans) for node in plan.nodes}
    owners = spread_ownership(graph, cores, stream.unowned)
    caches = find_caches(graph, flow, owners)
    nodes: dict[str, list[ir.Node]] = {plan.id: [] for plan in plans}
    for node in graph:
        if node in owners:
            nodes[owners[node]].append(node)
    return tuple(
        dataclasses.replace(plan, nodes=tuple(nodes[plan.id]), caches=caches.get(plan.id, ()))
        for plan in plans
    )


def _subsampling(flow: Flow, stream: Stream, products: Products) -> list[Plan]:
    nodes = flow.between(flow.source, stream.entry)
    if not any(n in products.linears or n in products.convolutions for n in nodes):
        return []
    return [
        Plan(
            "encoder.pre_encode",
            Kind.SUBSAMPLING,
            None,
            tuple(nodes),
            flow.source,
            stream.entry,
        )
    ]


def _position_tables(stream: Stream) -> list[Plan]:
    """The positions that all attention modules share; a table of one layer belongs to it."""
    details = [part.details for part in stream.parts if isinstance(part, Classified)]
    attentions = [each for part in details if (each := attention_of(part)) is not None]
    uses = Counter(value for each in attentions for value in each.position_values)
    layers = Counter(each.position_layer for each in attentions if each.position_layer)
    shared = [value for value, count in uses.items() if count == len(attentions)]
    if not shared:
        return []
    makers = {value.producer() for value in shared} - {None}
    projections = {n for layer, count in layers.items() if layer and count > 1 for n in layer.nodes}
    nodes = tuple(n for n in makers | projections if n is not None)
    return [Plan("encoder.pos_enc", Kind.POSITION_TABLE, None, nodes, None, shared[0])]


def _parts(stream: Stream) -> list[Plan]:
    plans = []
    for part, name in zip(stream.parts, number(stream.kinds), strict=True):
        plan_id = f"encoder.{name}"
        if isinstance(part, Classified):
            join = part.join
            plan = Plan(plan_id, part.kind, part, join.nodes, join.stream, join.output)
        else:
            plan = Plan(plan_id, kind_of(part), part, part.nodes, part.input, part.output)
        plans.append(plan)
    return plans


def _head(flow: Flow, stream: Stream, products: Products, plans: Sequence[Plan]) -> list[Plan]:
    """What follows the stream, if it holds a linear layer."""
    taken = stream.unowned.union(*(plan.nodes for plan in plans))
    nodes = [n for n in flow.after(stream.end) if n not in taken]
    if not any(n in products.linears for n in nodes):
        return []
    outputs = [v for n in nodes for v in n.outputs]
    declared = [v for v in outputs if v.is_graph_output()]
    output = declared[0] if declared else outputs[-1]
    return [Plan("decoder", Kind.HEAD, None, tuple(nodes), stream.end, output)]


def _with_kept_ids(plans: list[Plan]) -> list[Plan]:
    """Takes over ids that an earlier run stamped on the modules' nodes, if they stay unique."""
    kept = [_stamped_id(plan) or plan.id for plan in plans]
    if len(set(kept)) < len(kept):
        return plans
    return [dataclasses.replace(plan, id=name) for plan, name in zip(plans, kept, strict=True)]


def _stamped_id(plan: Plan) -> str | None:
    """The module that most nodes name in their stamps, if it has the same part in its block."""
    stamps = Counter(
        module_of_layer(node.metadata_props[LAYER_KEY])
        for node in plan.nodes
        if LAYER_KEY in node.metadata_props
    )
    role = role_of(plan.id)
    return next((name for name, _ in stamps.most_common() if role_of(name) == role), None)

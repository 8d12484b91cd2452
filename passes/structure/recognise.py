"""Recognises the modules of a Conformer in any exporter's spelling, by topology."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx_ir as ir

from ..base import LAYER_KEY, InPlacePass, Journal, PassResult, Refusal
from .classify import Classified, classify_joins
from .flow import Flow
from .linear import Products, find_products
from .modules import Kind, Structure
from .naming import name_layers
from .norms import find_norms
from .plan import plan_modules
from .residual import Join, find_joins
from .stream import Stream, Transition, lay_out

#: Fusions of ONNX Runtime that take residual Adds, activations or whole layouts away.
_FUSED_OPS = frozenset({
    "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "BiasGelu", "FusedConv",
    "FusedGemm", "NhwcFusedConv",
})  # fmt: skip


def recognise(model: ir.Model) -> Structure:
    """Finds modules and linear layers; changes nothing.

    The model should have been simplified: Constant nodes lifted, Identity gone, shapes inferred.
    Nothing here relies on it, but more is recognised then.

    Args:
        model: Any ONNX model; without Conformer modules the structure holds its linear layers
            and a near miss that says what was looked for.

    Returns:
        The structure, valid until the model changes.
    """
    graph = model.graph
    products = find_products(graph)
    norms = find_norms(graph)
    flow, joins = _main_flow(graph, products)
    near_misses = [
        Refusal(node.name or node.op_type, f"{node.op_type} is no linear layer: {reason}")
        for node, reason in products.refused.items()
        if not any(node in join.nodes for join in joins)
    ]
    near_misses.extend(_fused(graph))
    classified: list[Classified] = []
    stream: Stream | None = None
    if flow is not None:
        classified, skips = classify_joins(joins, flow, products, norms)
        near_misses.extend(skips)
        stream = lay_out(flow, classified, norms, products)
    if flow is None or stream is None:
        near_misses.extend(Refusal(c.name, c.reason) for c in classified)
        near_misses.append(Refusal("model", _why_none(joins, products)))
        return name_layers(graph, products, (), near_misses)
    plans = plan_modules(graph, flow, stream, products)
    near_misses.extend(
        Refusal(plan.id, plan.part.reason)
        for plan in plans
        if isinstance(plan.part, Classified | Transition) and plan.kind is Kind.OTHER
    )
    return name_layers(graph, products, plans, near_misses)


def _main_flow(graph: ir.Graph, products: Products) -> tuple[Flow | None, list[Join]]:
    """The flow of the graph input whose data makes the most residual joins: the features.

    Masks and caches reach most of the graph too, but not the first branches.
    """
    best: tuple[Flow | None, list[Join]] = (None, [])
    for value in graph.inputs:
        if value.is_initializer():
            continue
        flow = Flow(graph, value)
        joins = find_joins(flow, products)
        if best[0] is None or len(joins) > len(best[1]):
            best = flow, joins
    return best


def _fused(graph: ir.Graph) -> list[Refusal]:
    """A near miss if ONNX Runtime has fused the residual stream into its own operators."""
    names = sorted({n.op_type for n in graph if n.op_type in _FUSED_OPS or "nchwc" in n.domain})
    if not names:
        return []
    reason = (
        f"ONNX Runtime has fused parts of the model into {', '.join(names)}, which hide modules; "
        "take the exported file, or one optimised at level basic at most"
    )
    return [Refusal("model", reason)]


def _why_none(joins: Sequence[Join], products: Products) -> str:
    layers = f"{len(products.linears)} linear layers and {len(products.convolutions)} convolutions"
    if joins:
        return (
            f"none of its {len(joins)} residual branches is a Conformer module; {layers} were found"
        )
    return (
        "no Add joins a value with a branch computed from it, so there is no residual stream and "
        f"no Conformer module; {layers} were found"
    )


@dataclasses.dataclass(frozen=True)
class Recognise(InPlacePass):
    """Stamps the id of its module or layer on every node that belongs to one.

    The id is stored under ``confpress.layer`` in the node's metadata. Nodes of linear layers and
    convolutions get the layer's id, the others of a module the module's. Ids that are already
    there are kept, so that they stay the same when a model is recognised again after modules were
    removed. Near misses are the refusals of the result.
    """

    def call(self, model: ir.Model) -> PassResult:
        """Recognises the model and stamps its nodes."""
        structure = recognise(model)
        journal = Journal()
        stamps = {node: module.id for module in structure.modules for node in module.nodes}
        stamps |= {node: each.id for each in structure.linears for node in each.nodes}
        stamps |= {each.node: each.id for each in structure.convolutions}
        modified = False
        for node, layer in stamps.items():
            modified |= node.metadata_props.get(LAYER_KEY) != layer
            node.metadata_props[LAYER_KEY] = layer
        for kind in Kind:
            count = len(structure.of_kind(kind))
            if count:
                journal.change("model", f"recognised {count} × {kind}")
        for miss in structure.near_misses:
            journal.refuse(miss.where, miss.reason)
        return journal.result(model, modified=modified)

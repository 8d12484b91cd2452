"""Gives every layer its id and puts the finished structure together."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from ..base import LAYER_KEY, Refusal
from .classify import Classified
from .linear import Products
from .modules import (
    Branches,
    Convolution,
    ConvolutionModule,
    Details,
    FeedForward,
    Kind,
    Linear,
    Module,
    Norm,
    SelfAttention,
    Structure,
)
from .plan import Plan
from .scope import common_scope, scope_of
from .subsampling import recognise_subsampling

_WEIGHT_SUFFIXES = (".weight", "_weight", ".kernel")


class _Names:
    """Finished layers by their nodes, every id once."""

    def __init__(self) -> None:
        self.linears: dict[ir.Node, Linear] = {}
        self.convolutions: dict[ir.Node, Convolution] = {}
        self._used: Counter[str] = Counter()

    def unique(self, name: str) -> str:
        self._used[name] += 1
        return name if self._used[name] == 1 else f"{name}_{self._used[name]}"

    def linear(self, layer: Linear, name: str) -> None:
        name = layer.node.metadata_props.get(LAYER_KEY) or name
        self.linears[layer.node] = dataclasses.replace(
            layer, id=self.unique(name), scope=scope_of(layer.node)
        )

    def convolution(self, layer: Convolution, name: str) -> None:
        name = layer.node.metadata_props.get(LAYER_KEY) or name
        self.convolutions[layer.node] = dataclasses.replace(
            layer, id=self.unique(name), scope=scope_of(layer.node)
        )


def name_layers(
    graph: ir.Graph, products: Products, plans: Sequence[Plan], near_misses: Sequence[Refusal]
) -> Structure:
    """Names all layers, those of modules by their role, and finishes the modules."""
    names = _Names()
    for plan in plans:
        linears = [products.linears[n] for n in plan.nodes if n in products.linears]
        convolutions = [products.convolutions[n] for n in plan.nodes if n in products.convolutions]
        for linear, role in zip(linears, _linear_roles(plan, linears), strict=True):
            names.linear(linear, f"{plan.id}.{role}" if role else plan.id)
        for convolution, role in zip(convolutions, _convolution_roles(convolutions), strict=True):
            names.convolution(convolution, f"{plan.id}.{role}")
    for node in graph:
        if node in products.linears and node not in names.linears:
            names.linear(products.linears[node], _name_outside(node, products.linears[node].weight))
        elif node in products.convolutions and node not in names.convolutions:
            layer = products.convolutions[node]
            names.convolution(layer, _name_outside(node, layer.weight))
    return Structure(
        modules=tuple(_module(plan, names) for plan in plans),
        linears=tuple(names.linears[n] for n in graph if n in names.linears),
        convolutions=tuple(names.convolutions[n] for n in graph if n in names.convolutions),
        near_misses=tuple(near_misses),
    )


def _linear_roles(plan: Plan, linears: Sequence[Linear]) -> list[str]:
    """What every layer of a module is called in it."""
    part = plan.part
    details = part.details if isinstance(part, Classified) else None
    if isinstance(details, SelfAttention):
        return _attention_roles(details, linears)
    if isinstance(details, Branches):
        gate = {details.gate_in.node: "gate1", details.gate_out.node: "gate2"}
        return _attention_roles(details.attention, linears, gate, rest="merge")
    if isinstance(details, ConvolutionModule):
        return [f"pointwise{i}" for i in range(1, len(linears) + 1)]
    if isinstance(details, FeedForward) and details.experts > 1:
        return _expert_roles(details, linears)
    if isinstance(details, FeedForward) and len(linears) == 3:
        return _gated_roles(linears) if details.gated else _chosen_roles(details, linears)
    if plan.kind is Kind.SUBSAMPLING:
        return [*(f"linear{i}" for i in range(1, len(linears))), "out"][: len(linears)]
    if plan.kind is Kind.HEAD and len(linears) == 1:
        return [""]
    if plan.kind is Kind.POSITION_TABLE and len(linears) == 1:
        return ["linear_pos"]
    return [f"linear{i}" for i in range(1, len(linears) + 1)]


def _chosen_roles(details: FeedForward, linears: Sequence[Linear]) -> list[str]:
    """``linear1``, ``linear2`` and the ``gate`` that takes one of the experts."""
    roles: list[str] = []
    for linear in linears:
        of_units = details.units in (linear.in_features, linear.out_features)
        roles.append(f"linear{1 + roles.count('linear1')}" if of_units else "gate")
    return roles


def _expert_roles(details: FeedForward, linears: Sequence[Linear]) -> list[str]:
    """``gate``, ``expert1.linear1``, ``expert1.linear2``, ``expert2.linear1``, ..."""
    roles = [
        f"expert{expert}.linear{i}" for expert in range(1, details.experts + 1) for i in (1, 2)
    ]
    gates = len(linears) - len(roles)
    return [*(["gate"] if gates == 1 else [f"gate{i}" for i in range(1, gates + 1)]), *roles]


def _attention_roles(
    details: SelfAttention,
    linears: Sequence[Linear],
    beside: Mapping[ir.Node, str] | None = None,
    rest: str = "other",
) -> list[str]:
    """``linear_q``, ``linear_kv``, ...; the letters of all that one packed layer gives."""
    letters = dict(beside or {})
    for letter, layer in (("q", details.query), ("k", details.key), ("v", details.value)):
        letters[layer.node] = letters.get(layer.node, "") + letter
    letters[details.out.node] = "out"
    if details.position_layer is not None:
        letters[details.position_layer.node] = "pos"
    unknown = 0
    roles = []
    for linear in linears:
        unknown += linear.node not in letters
        roles.append(f"linear_{letters.get(linear.node, f'{rest}{unknown}')}")
    return roles


def _gated_roles(linears: Sequence[Linear]) -> list[str]:
    """The projection that goes through the non-linearity is the gate."""
    gates = [linear.activation is not None for linear in linears]
    gate = gates.index(True) if True in gates[:2] else 0
    return ["linear_gate" if i == gate else ("linear1" if i < 2 else "linear2") for i in range(3)]


def _convolution_roles(convolutions: Sequence[Convolution]) -> list[str]:
    if len(convolutions) == 1 and convolutions[0].is_depthwise:
        return ["depthwise"]
    return [f"conv{i}" for i in range(1, len(convolutions) + 1)]


def _name_outside(node: ir.Node, weight: ir.Value) -> str:
    """The name of a layer outside all modules: the exporter's, its weight's or its node's."""
    scope = scope_of(node)
    if scope:
        return scope
    name = weight.name or ""
    for suffix in _WEIGHT_SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return node.name or name or node.op_type


def _module(plan: Plan, names: _Names) -> Module:
    linears = tuple(names.linears[n] for n in plan.nodes if n in names.linears)
    convolutions = tuple(names.convolutions[n] for n in plan.nodes if n in names.convolutions)
    part = plan.part
    joined = part if isinstance(part, Classified) else None
    norm = part if isinstance(part, Norm) else (joined.branch.norm if joined else None)
    return Module(
        id=plan.id,
        kind=plan.kind,
        scope=_scope(plan, linears, convolutions),
        layer=plan.layer,
        nodes=plan.nodes,
        linears=linears,
        convolutions=convolutions,
        input=plan.input,
        output=plan.output,
        norm=norm,
        residual_add=joined.join.add if joined else None,
        scale=joined.join.scale if joined else 1.0,
        stream_scale=joined.join.stream_scale if joined else 1.0,
        details=_details(plan, names, linears, convolutions),
        caches=plan.caches,
    )


def _scope(plan: Plan, linears: Sequence[Linear], convolutions: Sequence[Convolution]) -> str:
    """What the exporter's names of a module's layers have in common."""
    scopes = [layer.scope for layer in linears] + [layer.scope for layer in convolutions]
    if not scopes:
        return common_scope(scope_of(node) for node in plan.nodes)
    shared = common_scope(scopes)
    return shared.rpartition(".")[0] if len(scopes) == 1 and plan.kind is not Kind.HEAD else shared


def _details(
    plan: Plan,
    names: _Names,
    linears: Sequence[Linear],
    convolutions: Sequence[Convolution],
) -> Details | None:
    """The details with the named layers in the place of the nameless."""
    if plan.kind is Kind.SUBSAMPLING:
        return recognise_subsampling(plan.nodes, linears, convolutions)
    details = plan.part.details if isinstance(plan.part, Classified) else None
    if isinstance(details, SelfAttention):
        return _named_attention(details, names)
    if isinstance(details, Branches):
        return Branches(
            attention=_named_attention(details.attention, names),
            gate_in=names.linears[details.gate_in.node],
            gate_out=names.linears[details.gate_out.node],
            depthwise=names.convolutions[details.depthwise.node],
        )
    if isinstance(details, ConvolutionModule):
        return dataclasses.replace(
            details,
            depthwise=names.convolutions[details.depthwise.node],
            pointwise=tuple(names.linears[p.node] for p in details.pointwise),
        )
    return details


def _named_attention(details: SelfAttention, names: _Names) -> SelfAttention:
    pos = details.position_layer
    return dataclasses.replace(
        details,
        query=names.linears[details.query.node],
        key=names.linears[details.key.node],
        value=names.linears[details.value.node],
        out=names.linears[details.out.node],
        position_layer=None if pos is None else names.linears[pos.node],
    )

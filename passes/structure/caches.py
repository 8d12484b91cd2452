"""Streaming states: a graph input put before what a module computed, and its successor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from .flow import Flow
from .graph import LAYOUT_OPS, constant, data_consumers, data_inputs
from .modules import Cache

_KEEPS_STATE = LAYOUT_OPS | {"Identity", "Cast"}
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


def find_caches(
    graph: ir.Graph, flow: Flow, owners: Mapping[ir.Node, str]
) -> dict[str, tuple[Cache, ...]]:
    """The caches of every module.

    A cache is a floating-point graph input, other than the features, that meets the features'
    data in a Concat of a module, directly or after its axes were cut and moved; one input may
    hold the states of all layers. Its successor is the output that the same Concat leads to
    through layout operators alone.

    Args:
        graph: The graph.
        flow: The flow of the features.
        owners: The module of every node.
    """
    outputs = {value: _places(value) for value in graph.outputs}
    found: dict[str, list[Cache]] = {}
    for value in graph.inputs:
        if value is flow.source or value.dtype not in _FLOATS or constant(value) is not None:
            continue
        for concat in _meetings(value, flow):
            owner = owners.get(concat)
            if owner is None:
                continue
            successor = next((o for o, places in outputs.items() if concat in places), None)
            found.setdefault(owner, []).append(Cache(value, successor))
    return {owner: _unique(caches) for owner, caches in found.items()}


def _meetings(value: ir.Value, flow: Flow) -> Iterable[ir.Node]:
    """The Concats in which a graph input meets the features' data first."""
    pending, seen = [value], set()
    for current in pending:
        for node in data_consumers(current):
            if node in seen:
                continue
            seen.add(node)
            if node.op_type == "Concat" and flow.inputs(node):
                yield node
            elif node.op_type in _KEEPS_STATE:
                pending.extend(node.outputs)


def _places(value: ir.Value) -> set[ir.Node]:
    """The nodes that an output leads back to through layout operators."""
    pending, seen = [value], set[ir.Node]()
    for current in pending:
        node = current.producer()
        if node is not None and node not in seen and node.op_type in _KEEPS_STATE:
            seen.add(node)
            pending.extend(data_inputs(node))
    return seen


def _unique(caches: list[Cache]) -> tuple[Cache, ...]:
    return tuple({cache.input: cache for cache in caches}.values())

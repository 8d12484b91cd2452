"""Convolutions: dense, grouped, depthwise; and pooling."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..facts import Facts, fact_rule
from ..known import Fact, collapse, only_axis
from ..links import Axis, Contraction
from ..wiring import Wiring, link_rule


@fact_rule("Conv")
def _conv(facts: Facts, node: ir.Node) -> list[Fact | None]:
    """A channel is constant if all channels that it reads are, or have no weight for it.

    Constants other than zero do not survive padding: at the edges zeros take part.
    """
    weight = facts.constant(node.inputs[1])
    shape = facts.shapes.of(node.inputs[0])
    if weight is None or shape is None or shape[1].number is None:
        return [None]
    group, outputs = node.attributes.get_int("group", 1), weight.shape[0]
    known = _channels(facts, node, shape[1].number).reshape(group, 1, -1)
    taps = weight.reshape(group, outputs // group, weight.shape[1], -1)
    used = taps.any(axis=-1)
    hidden = (np.isnan(known) & used).any(axis=-1)
    # A filter over constants is a product with the sum of its taps.
    terms = np.where(used, np.nan_to_num(known) * taps.sum(axis=-1, dtype=np.float64), 0.0)
    found = np.where(hidden, np.nan, terms.sum(axis=-1)).reshape(-1)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = facts.constant(node.inputs[2])
        if bias is None:
            return [None]
        found = found + bias
    return [found.reshape((1, -1) + (1,) * (weight.ndim - 2))]


def _channels(facts: Facts, node: ir.Node, size: int) -> Fact:
    """What the convolution may take for constant in every input channel."""
    known = only_axis(facts.of(node.inputs[0]), 1, size)
    return known if _is_without_padding(node) else np.where(known == 0, 0.0, np.nan)


def _is_without_padding(node: ir.Node) -> bool:
    padding = node.attributes.get_string("auto_pad", "NOTSET")
    return padding in ("NOTSET", "VALID") and not any(node.attributes.get_ints("pads", []))


@link_rule("Conv")
def _link_conv(wiring: Wiring, node: ir.Node) -> None:
    weight = wiring.shapes.of(node.inputs[1])
    if weight is None or weight[0].number is None or weight[1].number is None:
        return
    group, outputs, inputs = (
        node.attributes.get_int("group", 1), weight[0].number, weight[1].number,
    )  # fmt: skip
    x, y = wiring.input(node, 0, 1), wiring.output(node, 1)
    wiring.tie(wiring.input(node, 0, 0), wiring.output(node, 0))
    wiring.tie(wiring.input(node, 1, 0), y)
    if len(node.inputs) > 2:
        wiring.tie(wiring.input(node, 2, 0), y)
    if group == 1:
        _link_dense(wiring, node, x)
    elif x is not None and y is not None:
        groups = x if inputs == 1 else wiring.virtual(node, group)
        if groups is not x:
            wiring.grid([groups, inputs], [x])
        if outputs == group:
            wiring.tie(groups, y)
        else:
            wiring.grid([groups, outputs // group], [y])


def _link_dense(wiring: Wiring, node: ir.Node, x: Axis | None) -> None:
    weight, w = wiring.facts.constant(node.inputs[1]), wiring.input(node, 1, 1)
    if weight is None or x is None or w is None:
        return
    used = np.asarray(weight.any(axis=tuple(range(2, weight.ndim)))).T
    known = _channels(wiring.facts, node, wiring.sizes[x])
    wiring.add(Contraction(node, x, w, wiring.output(node, 1), lambda: used, known))


@fact_rule("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
def _pool(facts: Facts, node: ir.Node) -> list[Fact | None]:
    fact = facts.of(node.inputs[0])
    if fact is None or not _is_without_padding(node):
        return [None]
    for axis in range(2, fact.ndim):
        fact = collapse(fact, axis)
    return [fact, *([None] * (len(node.outputs) - 1))]


@link_rule("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
def _link_pool(wiring: Wiring, node: ir.Node) -> None:
    for axis in (0, 1):
        for index in range(len(node.outputs)):
            wiring.tie(wiring.input(node, 0, axis), wiring.output(node, axis, index))

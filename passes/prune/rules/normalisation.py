"""Normalisations and Softmax."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..facts import Facts, fact_rule
from ..known import Fact
from ..wiring import Wiring, link_rule

_OVER_LAST_AXES = ("LayerNormalization", "RMSNormalization")


@fact_rule(*_OVER_LAST_AXES)
def _layer_norm(facts: Facts, node: ir.Node) -> list[Fact | None]:
    """Where the scale is zero, the bias is the result."""
    scale, shape = facts.constant(node.inputs[1]), facts.shapes.of(node.inputs[0])
    if scale is None or shape is None:
        return [None]
    bias = np.zeros(1)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        found = facts.constant(node.inputs[2])
        if found is None:
            return [None]
        bias = found
    known = np.where(scale == 0, bias, np.nan)
    return [known.reshape((1,) * (len(shape) - known.ndim) + known.shape)]


@link_rule(*_OVER_LAST_AXES)
def _link_layer_norm(wiring: Wiring, node: ir.Node) -> None:
    rank = wiring.rank(node.inputs[0])
    if rank is None:
        return
    first = node.attributes.get_int("axis", -1) % rank
    for axis in range(first):
        wiring.tie(wiring.input(node, 0, axis), wiring.output(node, axis))


@fact_rule("BatchNormalization")
def _batch_norm(facts: Facts, node: ir.Node) -> list[Fact | None]:
    shape = facts.shapes.of(node.inputs[0])
    constants = [facts.constant(each) for each in node.inputs[1:5]]
    if shape is None or any(each is None for each in constants):
        return [None]
    scale, bias, mean, variance = (
        np.asarray(each, np.float64).reshape((1, -1) + (1,) * (len(shape) - 2))
        for each in constants
    )
    fact = facts.or_unknown(node.inputs[0])
    if fact is None:
        return [None]
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
        known = (fact - mean) * factor + bias
    return [np.where(scale == 0, bias, known)]


@link_rule("BatchNormalization")
def _link_batch_norm(wiring: Wiring, node: ir.Node) -> None:
    for axis in range(wiring.rank(node.inputs[0]) or 0):
        wiring.tie(wiring.input(node, 0, axis), wiring.output(node, axis))
    for index in range(1, 5):
        wiring.tie(wiring.input(node, index, 0), wiring.output(node, 1))


@link_rule("InstanceNormalization")
def _link_instance_norm(wiring: Wiring, node: ir.Node) -> None:
    for axis in (0, 1):
        wiring.tie(wiring.input(node, 0, axis), wiring.output(node, axis))
    for index in (1, 2):
        wiring.tie(wiring.input(node, index, 0), wiring.output(node, 1))


@link_rule("Softmax", "LogSoftmax", "Hardmax", "CumSum", "LpNormalization")
def _link_along_one_axis(wiring: Wiring, node: ir.Node) -> None:
    rank = wiring.rank(node.inputs[0])
    along = _along(wiring, node)
    if rank is None or along is None:
        return
    for axis in range(rank):
        if axis != along % rank:
            wiring.tie(wiring.input(node, 0, axis), wiring.output(node, axis))


def _along(wiring: Wiring, node: ir.Node) -> int | None:
    """The axis that the operator works along."""
    if node.op_type != "CumSum":
        return node.attributes.get_int("axis", -1)
    axis = wiring.facts.constant(node.inputs[1])
    return None if axis is None else int(axis.reshape(-1)[0])

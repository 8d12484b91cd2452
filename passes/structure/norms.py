"""Normalisations in every spelling.

One node (LayerNormalization, RMSNormalization, BatchNormalization, ...), or what exporters for
older opsets write: ``c / sqrt(mean(c * c) + eps)`` with ``c = x - mean(x)`` for layer
normalisation and ``c = x`` for RMS normalisation (Zhang and Sennrich 2019), where the division
is a Div, a Mul with Reciprocal, or a Pow with -0.5, then scale and bias if there are any.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from .graph import constant, data_consumers, other_input, scalar
from .modules import Norm

_SINGLE_NODES = {
    "LayerNormalization": "layer",
    "RMSNormalization": "rms",
    "SimplifiedLayerNormalization": "rms",
    "BatchNormalization": "batch",
    "GroupNormalization": "group",
    "InstanceNormalization": "instance",
}


def find_norms(graph: ir.Graph) -> tuple[Norm, ...]:
    """All normalisations of a graph in graph order."""
    return tuple(_norms(graph))


def _norms(graph: ir.Graph) -> Iterator[Norm]:
    for node in graph:
        if node.op_type in _SINGLE_NODES:
            yield _single_node(node)
        elif node.op_type == "ReduceMean":
            found = _spelled_out(node)
            if found is not None:
                yield found


def _single_node(node: ir.Node) -> Norm:
    value = node.inputs[0]
    assert value is not None, f"{node.op_type} without an input"
    weight, bias = (*node.inputs[1:3], None, None)[:2]
    return Norm(
        type=_SINGLE_NODES[node.op_type],
        nodes=(node,),
        input=value,
        output=node.outputs[0],
        weight=weight,
        bias=bias,
    )


def _spelled_out(mean_square: ir.Node) -> Norm | None:
    """The norm whose variance (or mean square) a ReduceMean computes."""
    square = _producer(mean_square.inputs[0])
    centred = _squared(square)
    if square is None or centred is None:
        return None
    add = _sole(mean_square.outputs[0], "Add")
    if add is None or scalar(other_input(add, mean_square.outputs[0])) is None:
        return None
    inverse = _divided_by_root(centred, add.outputs[0])
    if inverse is None:
        return None
    nodes = [square, mean_square, add, *inverse]
    output = inverse[-1].outputs[0]
    subtract, mean = _centring(centred)
    norm_input = centred
    if subtract is not None and mean is not None:
        nodes[:0] = [mean, subtract]
        value = subtract.inputs[0]
        assert value is not None
        norm_input = value
    weight, output, nodes = _affine(output, nodes, "Mul")
    bias, output, nodes = _affine(output, nodes, "Add")
    return Norm(
        type="rms" if subtract is None else "layer",
        nodes=tuple(nodes),
        input=norm_input,
        output=output,
        weight=weight,
        bias=bias,
    )


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def _sole(value: ir.Value, *op_types: str) -> ir.Node | None:
    """The one node that uses a value, if it is of one of the given types."""
    found = data_consumers(value)
    return found[0] if len(found) == 1 and found[0].op_type in op_types else None


def _squared(node: ir.Node | None) -> ir.Value | None:
    """``c`` of ``Pow(c, 2)`` or ``Mul(c, c)``."""
    if node is None or len(node.inputs) != 2:
        return None
    base, exponent = node.inputs
    if node.op_type == "Pow" and scalar(exponent) == 2:
        return base
    if node.op_type == "Mul" and base is exponent:
        return base
    return None


def _centring(centred: ir.Value) -> tuple[ir.Node | None, ir.Node | None]:
    """The Sub and ReduceMean of ``c = x - mean(x)``."""
    subtract = centred.producer()
    if subtract is None or subtract.op_type != "Sub":
        return None, None
    mean = _producer(subtract.inputs[1])
    if mean is None or mean.op_type != "ReduceMean" or mean.inputs[0] is not subtract.inputs[0]:
        return None, None
    return subtract, mean


def _divided_by_root(centred: ir.Value, variance: ir.Value) -> list[ir.Node] | None:
    """The nodes of ``c / sqrt(v)``, in any of its spellings."""
    root = _sole(variance, "Sqrt", "Pow")
    if root is None:
        return None
    nodes = [root]
    exponent = 0.5 if root.op_type == "Sqrt" else scalar(root.inputs[1])
    if exponent not in (0.5, -0.5):
        return None
    inverted = exponent == -0.5
    inverse = _sole(root.outputs[0], "Reciprocal", "Div")
    if inverse is not None and not inverted:
        is_reciprocal = inverse.op_type == "Reciprocal" or scalar(inverse.inputs[0]) == 1
        if is_reciprocal:
            nodes.append(inverse)
            inverted = True
    last = _sole(nodes[-1].outputs[0], "Mul" if inverted else "Div")
    if last is None:
        return None
    is_quotient = (
        other_input(last, nodes[-1].outputs[0]) is centred
        if inverted
        else last.inputs[0] is centred
    )
    return [*nodes, last] if is_quotient else None


def _affine(
    value: ir.Value, nodes: list[ir.Node], op_type: str
) -> tuple[ir.Value | None, ir.Value, list[ir.Node]]:
    """Takes the Mul of a scale or the Add of a bias along; a single number is not one."""
    node = _sole(value, op_type)
    if node is None:
        return None, value, nodes
    parameter = other_input(node, value)
    tensor = constant(parameter)
    if tensor is None or tensor.size == 1:
        return None, value, nodes
    return parameter, node.outputs[0], [*nodes, node]

"""Pointwise non-linearities in every spelling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection

import onnx_ir as ir

from .graph import data_consumers, other_input, scalar
from .modules import Activation

_SINGLE_NODES = {
    "Relu": "relu",
    "FastGelu": "gelu_tanh",
    "Tanh": "tanh",
    "Elu": "elu",
    "LeakyRelu": "leaky_relu",
    "HardSwish": "hard_swish",
    "Mish": "mish",
    "Selu": "selu",
    "Softplus": "softplus",
}
#: x · Sigmoid(alpha x), and alpha where the node does not say it.
_GATED = {"Swish": 1.0, "QuickGelu": 1.702}
#: Constants of a model may be rounded, those of float16 too.
_TOLERANCE = 5e-4


def find_activation(value: ir.Value) -> Activation | None:
    """The non-linearity that is the only user of a value.

    1. One node: Relu, Swish, Gelu, ...
    2. SiLU as x · Sigmoid(x), either order.
    3. GELU with erf, x · (1 + erf(x / √2)) / 2, in any order of the factors.
    """
    users = data_consumers(value)
    if value.is_graph_output():
        return None
    if len(users) == 1:
        return _single_node(users[0])
    if len(users) == 2:
        return _silu(value, users) or _gelu(value, users)
    return None


def fusible_activation(value: ir.Value, names: Collection[str]) -> Activation | None:
    """One of these non-linearities that can be computed together with what it is applied to.

    Neither the value nor anything inside is used elsewhere. A lone Sigmoid is one here; in
    :func:`find_activation` it is none, as it may be the gate of something else.
    """
    found = find_activation(value) or _sigmoid(value)
    if found is None or found.name not in names:
        return None
    for inner in (value, *(output for node in found.nodes for output in node.outputs)):
        if inner is found.output:
            continue
        if inner.is_graph_output() or not set(inner.consumers()) <= set(found.nodes):
            return None
    return found


def _single_node(node: ir.Node) -> Activation | None:
    name = _name_of(node)
    if name is None or sum(each is not None for each in node.inputs) != 1:
        return None
    return Activation(name, (node,), node.outputs[0])


def _name_of(node: ir.Node) -> str | None:
    if node.op_type == "Gelu":
        return "gelu_tanh" if node.attributes.get_string("approximate") == "tanh" else "gelu"
    if node.op_type in _GATED:
        alpha = node.attributes.get_float("alpha", _GATED[node.op_type])
        return "silu" if alpha == 1 else "quick_gelu"
    return _SINGLE_NODES.get(node.op_type)


def _sigmoid(value: ir.Value) -> Activation | None:
    users = data_consumers(value)
    if len(users) != 1 or users[0].op_type != "Sigmoid":
        return None
    return Activation("sigmoid", (users[0],), users[0].outputs[0])


def _silu(value: ir.Value, users: list[ir.Node]) -> Activation | None:
    by_type = {node.op_type: node for node in users}
    sigmoid, product = by_type.get("Sigmoid"), by_type.get("Mul")
    if sigmoid is None or product is None:
        return None
    gate = sigmoid.outputs[0]
    if other_input(product, value) is not gate or data_consumers(gate) != [product]:
        return None
    return Activation("silu", (sigmoid, product), product.outputs[0])


@dataclasses.dataclass
class _Factor:
    """``scale · x + offset``, or the same of ``erf(inner · x)``."""

    end: ir.Value
    nodes: list[ir.Node]
    scale: float = 1.0
    offset: float = 0.0
    inner: float | None = None


def _gelu(value: ir.Value, users: list[ir.Node]) -> Activation | None:
    """Follows both factors: x with constants, and erf(x · c) + 1 with constants."""
    factors = [_factor(value, node) for node in users]
    plain = next((each for each in factors if each.inner is None), None)
    curved = next((each for each in factors if each.inner is not None), None)
    if plain is None or curved is None or curved.inner is None:
        return None
    product = [n for n in data_consumers(plain.end) if n in data_consumers(curved.end)]
    if len(product) != 1 or product[0].op_type != "Mul":
        return None
    nodes = [*plain.nodes, *curved.nodes, product[0]]
    output = product[0].outputs[0]
    scale = plain.scale * curved.scale
    half = data_consumers(output)
    if len(half) == 1 and half[0].op_type == "Mul":
        factor = scalar(other_input(half[0], output))
        if factor == 0.5:
            nodes.append(half[0])
            output = half[0].outputs[0]
            scale *= factor
    stated = (scale, plain.offset, curved.offset / curved.scale, curved.inner)
    if not all(map(_close, stated, (0.5, 0.0, 1.0, math.sqrt(0.5)))):
        return None
    return Activation("gelu", tuple(dict.fromkeys(nodes)), output)


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


def _factor(value: ir.Value, node: ir.Node) -> _Factor:
    """The nodes with one computed operand from ``node`` on; stops before two factors meet."""
    factor = _Factor(value, [])
    while _follow(factor, node):
        factor.nodes.append(node)
        factor.end = node.outputs[0]
        users = data_consumers(factor.end)
        if len(users) != 1:
            break
        node = users[0]
    return factor


def _follow(factor: _Factor, node: ir.Node) -> bool:
    """Takes a node into the factor, if it is one of those that it may have."""
    if node.op_type == "Erf" and factor.inner is None and factor.offset == 0:
        factor.inner, factor.scale = factor.scale, 1.0
        return True
    number = scalar(other_input(node, factor.end))
    if number is None or number == 0:
        return False
    if node.op_type == "Add":
        factor.offset += number
        return True
    if node.op_type == "Mul" or (node.op_type == "Div" and node.inputs[0] is factor.end):
        by = number if node.op_type == "Mul" else 1 / number
        factor.scale, factor.offset = factor.scale * by, factor.offset * by
        return True
    return False

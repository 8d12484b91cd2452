"""Pointwise non-linearities in every spelling."""

from __future__ import annotations

import onnx_ir as ir

from .graph import data_consumers, other_input, scalar
from .modules import Activation

_SINGLE_NODES = {
    "Relu": "relu",
    "Swish": "silu",
    "Gelu": "gelu",
    "FastGelu": "gelu",
    "QuickGelu": "quick_gelu",
    "Tanh": "tanh",
    "Elu": "elu",
    "LeakyRelu": "leaky_relu",
    "HardSwish": "hard_swish",
    "Mish": "mish",
    "Selu": "selu",
    "Softplus": "softplus",
}


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


def _single_node(node: ir.Node) -> Activation | None:
    name = _SINGLE_NODES.get(node.op_type)
    return None if name is None else Activation(name, (node,), node.outputs[0])


def _silu(value: ir.Value, users: list[ir.Node]) -> Activation | None:
    by_type = {node.op_type: node for node in users}
    sigmoid, product = by_type.get("Sigmoid"), by_type.get("Mul")
    if sigmoid is None or product is None:
        return None
    gate = sigmoid.outputs[0]
    if other_input(product, value) is not gate or data_consumers(gate) != [product]:
        return None
    return Activation("silu", (sigmoid, product), product.outputs[0])


def _gelu(value: ir.Value, users: list[ir.Node]) -> Activation | None:
    """Follows both factors: x with constants, and erf(x · c) + 1 with constants."""
    nodes: list[ir.Node] = []
    ends = []
    has_erf = False
    for node in users:
        end, steps = _chain(value, node)
        has_erf |= any(step.op_type == "Erf" for step in steps)
        nodes.extend(steps)
        ends.append(end)
    if not has_erf:
        return None
    product = [n for n in data_consumers(ends[0]) if n in data_consumers(ends[1])]
    if len(product) != 1 or product[0].op_type != "Mul":
        return None
    nodes.append(product[0])
    output = product[0].outputs[0]
    half = data_consumers(output)
    if len(half) == 1 and half[0].op_type == "Mul":
        factor = scalar(other_input(half[0], output))
        if factor == 0.5:
            nodes.append(half[0])
            output = half[0].outputs[0]
    return Activation("gelu", tuple(dict.fromkeys(nodes)), output)


def _chain(value: ir.Value, node: ir.Node) -> tuple[ir.Value, list[ir.Node]]:
    """The nodes with one computed operand from ``node`` on; stops before two factors meet."""
    steps: list[ir.Node] = []
    while True:
        takes_one = node.op_type == "Erf" or (
            node.op_type in ("Mul", "Div", "Add") and scalar(other_input(node, value)) is not None
        )
        if not takes_one:
            return value, steps
        steps.append(node)
        value = node.outputs[0]
        users = data_consumers(value)
        if len(users) != 1:
            return value, steps
        node = users[0]

"""Linear layers and convolutions: products with a constant.

A linear layer is a MatMul with a constant matrix on either side, a Gemm, or a Conv over one axis
with kernel 1; its bias is an Add in either order. The matrix may be computed from constants
(DequantizeLinear, Transpose, Cast, a folded scale). In lowered models it is one node that holds
everything (QuantLinear, DynamicQuantizeMatMul, MatMulNBits). Ids are given later, by the modules.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from ..linear import projects_table
from ..operators.linear_layers import BIAS_INPUT
from .activations import find_activation
from .graph import constant, constant_expression, dims, only_consumer, other_input
from .modules import Convolution, Linear

#: Linear layers of lowered models: data, packed or integer weight, ..., and where the bias is.
_LOWERED = BIAS_INPUT | {"DynamicQuantizeMatMul": 4, "MatMulNBits": 5}
#: What may compute a weight from its stored numbers without changing the shape.
_KEEPS_SHAPE = frozenset(("Cast", "DequantizeLinear", "Div", "Identity", "Mul", "Sub"))


@dataclasses.dataclass(frozen=True)
class Products:
    """The layers of a graph with a constant operand, by their nodes.

    Attributes:
        linears: By MatMul, Gemm or Conv.
        convolutions: By Conv.
        refused: Products that are neither, with the reason.
    """

    linears: dict[ir.Node, Linear]
    convolutions: dict[ir.Node, Convolution]
    refused: dict[ir.Node, str]


def find_products(graph: ir.Graph) -> Products:
    """All linear layers and convolutions with constant weights, in graph order."""
    found = Products({}, {}, {})
    for node in graph:
        if node.op_type == "MatMul":
            _take(found, node, _matmul(node))
        elif node.op_type == "Gemm":
            _take(found, node, _gemm(node))
        elif node.op_type == "Conv":
            _take(found, node, _conv(node))
        elif node.op_type in _LOWERED:
            _take(found, node, _lowered(node))
    return found


def _take(found: Products, node: ir.Node, layer: Linear | Convolution | str | None) -> None:
    if isinstance(layer, Linear):
        found.linears[node] = layer
    elif isinstance(layer, Convolution):
        found.convolutions[node] = layer
    elif layer is not None:
        found.refused[node] = layer


def _matmul(node: ir.Node) -> Linear | str | None:
    left, right = node.inputs
    if left is None or right is None:
        return "a MatMul needs two operands"
    for weight, value, in_axis in ((right, left, 0), (left, right, 1)):
        matrix = _Matrix.of(weight)
        table = constant(value)
        if matrix is None or (table is None and constant_expression(value) is not None):
            continue
        if matrix.shape is None:
            return "the shape of its weight is not known"
        if table is not None and (
            weight is left or not projects_table(table.shape.numpy(), matrix.shape)
        ):
            continue
        if len(matrix.shape) != 2:
            return f"its constant operand has {len(matrix.shape)} axes, a weight has 2"
        out_axis = 1 - in_axis
        bias = _added_bias(node.outputs[0], out_axis, matrix.shape[out_axis])
        return _linear(node, value, matrix, out_axis, *bias)
    return None


def _gemm(node: ir.Node) -> Linear | str | None:
    value, weight = node.inputs[:2]
    matrix = _Matrix.of(weight)
    if value is None or matrix is None or constant_expression(value) is not None:
        return None
    if matrix.shape is None:
        return "the shape of its weight is not known"
    attributes = node.attributes
    alpha, beta = attributes.get_float("alpha", 1.0), attributes.get_float("beta", 1.0)
    if attributes.get_int("transA", 0) or alpha != 1 or beta != 1:
        return "a Gemm with transA, alpha or beta is not a linear layer as it stands"
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and constant_expression(bias) is None:
        return "the third input of the Gemm is computed, a bias is constant"
    return _linear(node, value, matrix, 0 if attributes.get_int("transB", 0) else 1, bias)


def _conv(node: ir.Node) -> Linear | Convolution | str | None:
    value, weight = node.inputs[:2]
    matrix = _Matrix.of(weight)
    if value is None or matrix is None:
        return "its filters are computed, not constant"
    if matrix.shape is None or len(matrix.shape) < 3:
        return "the shape of its filters is not known"
    out_channels, group_channels, *kernel = matrix.shape
    group = node.attributes.get_int("group", 1)
    strides = tuple(node.attributes.get_ints("strides", [1] * len(kernel)))
    pads = node.attributes.get_ints("pads", [0] * 2 * len(kernel))
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if kernel == [1] and strides == (1,) and group == 1 and not any(pads):
        return _linear(node, value, matrix, 0, bias)
    return Convolution(
        id="",
        scope="",
        node=node,
        weight=matrix.stored,
        bias=bias,
        in_channels=group_channels * group,
        out_channels=out_channels,
        kernel=tuple(kernel),
        strides=strides,
        group=group,
    )


def _lowered(node: ir.Node) -> Linear | str | None:
    """A layer in one node; packed weights leave the sizes to the attributes."""
    value, weight, *rest = node.inputs
    matrix = _Matrix.of(weight)
    if value is None or matrix is None:
        return "its weight is computed, not constant"
    attributes = node.attributes
    if node.op_type in BIAS_INPUT:
        sizes = tuple(attributes.get_ints("shape", ()))[::-1]
    elif node.op_type == "MatMulNBits":
        sizes = (attributes.get_int("K", 0), attributes.get_int("N", 0))
    else:
        sizes = matrix.shape or ()
    if len(sizes) != 2:
        return "the shape of its weight is not known"
    bias = dict(enumerate(rest, start=2)).get(_LOWERED[node.op_type])
    return _linear(node, value, dataclasses.replace(matrix, shape=sizes), 1, bias)


def _linear(
    node: ir.Node,
    value: ir.Value,
    matrix: _Matrix,
    out_axis: int,
    bias: ir.Value | None,
    bias_add: ir.Node | None = None,
) -> Linear:
    assert matrix.shape is not None, "the caller refuses a matrix of unknown shape"
    end = bias_add or node
    return Linear(
        id="",
        scope="",
        node=node,
        nodes=(*matrix.nodes, node) if bias_add is None else (*matrix.nodes, node, bias_add),
        weight=matrix.stored,
        weight_input=matrix.value,
        out_axis=out_axis,
        bias=bias,
        in_features=matrix.shape[1 - out_axis],
        out_features=matrix.shape[out_axis],
        input=value,
        output=end.outputs[0],
        activation=find_activation(end.outputs[0]),
    )


def _added_bias(
    product: ir.Value, out_axis: int, features: int
) -> tuple[ir.Value | None, ir.Node | None]:
    """The bias in the Add that alone uses a MatMul's result: [features], or [features, 1]."""
    add = only_consumer(product)
    if add is None or add.op_type != "Add":
        return None, None
    bias = other_input(add, product)
    if bias is None or constant_expression(bias) is None:
        return None, None
    shape = dims(bias) or ()
    along_features = shape[-1:] if out_axis == 1 else shape[-2:-1]
    if along_features == (features,) and shape.count(1) == len(shape) - (features != 1):
        return bias, add
    return None, None


@dataclasses.dataclass(frozen=True)
class _Matrix:
    """A constant operand: what is read, what is stored, the nodes between, the shape read."""

    value: ir.Value
    stored: ir.Value
    nodes: tuple[ir.Node, ...]
    shape: tuple[int, ...] | None

    @classmethod
    def of(cls, value: ir.Value | None) -> _Matrix | None:
        """The operand, or None if it is not computed from constants alone."""
        expression = None if value is None else constant_expression(value)
        if value is None or expression is None:
            return None
        leaves, nodes = expression
        stored = max(leaves, key=_size)
        return cls(value, stored, tuple(nodes[::-1]), _expression_shape(value, stored, nodes))


def _size(value: ir.Value) -> int:
    tensor = constant(value)
    return 0 if tensor is None else int(tensor.size)


def _expression_shape(
    value: ir.Value, stored: ir.Value, nodes: list[ir.Node]
) -> tuple[int, ...] | None:
    """The shape of a constant expression, also where shapes were not inferred.

    Dequantising and scaling keep the stored shape; a plain Transpose turns it around.
    """
    shape = dims(value)
    if shape is not None and all(d is not None for d in shape):
        return tuple(d for d in shape if d is not None)
    start = dims(stored)
    if start is None or not all(n.op_type in _KEEPS_SHAPE | {"Transpose"} for n in nodes):
        return None
    known = tuple(d for d in start if d is not None)
    moves = [n for n in nodes if n.op_type == "Transpose"]
    if not moves:
        return known
    order = moves[0].attributes.get_ints("perm", list(range(len(known)))[::-1])
    return tuple(known[axis] for axis in order) if len(moves) == 1 else None

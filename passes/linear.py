"""Linear layers as they stand in a graph: a matrix product with a constant, a bias, an activation.

What ``quantize`` and the lowerings look for; a recogniser of modules is ``structure``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import onnx_ir as ir

from .base import layer_of
from .rewrite import constant


@dataclasses.dataclass(frozen=True)
class MatMulLayer:
    """``Y = X W + b`` with a constant W, found around one MatMul.

    Attributes:
        node: The MatMul.
        id: Layer id.
        input: X, [..., K]; a constant where :func:`projects_table` says so.
        weight: W as it stands in the graph (possibly the output of a DequantizeLinear or of a Cast
            to float32), [K, N].
        add: The Add of a constant bias of shape [N] that alone reads the product, or None.
        bias: That bias, or None.
    """

    node: ir.Node
    id: str
    input: ir.Value
    weight: ir.Value
    add: ir.Node | None
    bias: ir.Value | None

    @property
    def output(self) -> ir.Value:
        """The layer's result: of the bias where there is one."""
        return (self.add or self.node).outputs[0]


def matmul_layers(graph: ir.Graph) -> Iterator[MatMulLayer]:
    """All MatMuls whose second operand is a constant matrix, or is decoded from one.

    Not those of two constants, which are expressions to be folded, unless they project a table.
    """
    for node in graph:
        if node.op_type != "MatMul" or node.domain:
            continue
        left, right = node.inputs
        if left is None or right is None:
            continue
        stored, table = constant(stored_weight(right)), constant(left)
        if stored is None or stored.ndim != 2:
            continue
        if table is not None and not projects_table(table.shape, stored.shape):
            continue
        add, bias = _bias(node, stored.shape[1])
        yield MatMulLayer(node, layer_of(node), left, right, add, bias)


def weight_shape(layer: MatMulLayer) -> tuple[int, int]:
    """K and N of a layer whose weight is stored as it is."""
    weight = constant(layer.weight)
    assert weight is not None, "its weight is no decoded one"
    k, n = weight.shape
    return k, n


def projects_table(table: Sequence[int], weight: Sequence[int]) -> bool:
    """Whether a product of two constants is a layer, for all that it could be folded.

    So are the projections of positions for a constant number of frames: a table of more rows than
    the weight has, whose product every layer would store in float32. Runtimes compute it when they
    load a model. (Two narrow matrices whose product is a weight are no such layer: the second has
    more columns than rows.)

    Args:
        table: The shape of the first operand, [..., K].
        weight: That of the second; a layer's is [K, N].
    """
    if len(weight) != 2:
        return False
    rows, outputs = weight
    return math.prod(table[:-1]) > rows >= outputs


def stored_weight(value: ir.Value) -> ir.Value | None:
    """The initializer behind a weight: itself, or what a node decodes to floats."""
    producer = value.producer()
    if producer is not None and _decodes(producer):
        value_or_none = producer.inputs[0]
        return value_or_none if constant(value_or_none) is not None else None
    return value if constant(value) is not None else None


def _decodes(node: ir.Node) -> bool:
    if node.op_type == "Cast":
        return node.attributes.get_int("to", 0) == ir.DataType.FLOAT
    return node.op_type == "DequantizeLinear"


def only_user(value: ir.Value) -> ir.Node | None:
    """The one node that reads a value, or None if there are several or it is a graph output."""
    users = value.consumers()
    return users[0] if len(users) == 1 and not value.is_graph_output() else None


def only_reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads a value's numbers; others may ask for its shape."""
    readers = [user for user in value.consumers() if user.op_type != "Shape"]
    return readers[0] if len(readers) == 1 and not value.is_graph_output() else None


def _bias(node: ir.Node, width: int) -> tuple[ir.Node | None, ir.Value | None]:
    user = only_user(node.outputs[0])
    if user is None or user.op_type != "Add" or user.domain:
        return None, None
    for value in user.inputs:
        array = constant(value)
        if array is not None and array.shape == (width,):
            return user, value
    return None, None

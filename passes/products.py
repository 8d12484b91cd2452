"""Products with stored weights: what a graph says of how each is computed.

The same questions are asked of a model's file and of the graph that ONNX Runtime made of it; the
two answers side by side tell which layers only look quantised
(:mod:`confpress.runtime.audit.layers`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final, Literal

import onnx_ir as ir

from .base import layer_of
from .operators.linear_layers import FAMILY_OF as OURS
from .operators.linear_layers import FLOAT
from .structure.graph import constant_expression

#: `integer`: 8-bit integers are multiplied, or float values that QDQ nodes say are such.
#: `low-bit`: the weights' 4 or 2 bits are read as they are. `weights`: a DequantizeLinear of stored
#: codes before a float product. `storage`: codes behind operators that fold away at load.
Form = Literal["integer", "low-bit", "weights", "storage", "float16", "float32"]
Kernel = Literal["integer", "low-bit", "float"]

#: Where the weight stands, by operator.
_FLOAT: Final = dict.fromkeys(
    ("MatMul", "Gemm", "Conv", "FusedMatMul", "FusedGemm", "FusedConv", "NhwcFusedConv"), 1
)
_INTEGER: Final = dict.fromkeys(
    ("MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"), 1
) | dict.fromkeys(("QLinearMatMul", "QLinearConv", "QGemm"), 3)
_LOW_BIT: Final = dict.fromkeys(("MatMulNBits", "MatMulBnb4"), 1)
_OURS: Final = dict.fromkeys(OURS, 1)
_WEIGHT_AT: Final = _FLOAT | _INTEGER | _LOW_BIT | _OURS
_KERNEL_OF: Final[dict[str, Kernel]] = {
    **dict.fromkeys(_FLOAT, "float"),
    **dict.fromkeys(_INTEGER, "integer"),
    **dict.fromkeys(_LOW_BIT, "low-bit"),
    **{name: "low-bit" if "Bit" in name else "integer" for name in _OURS},
    **dict.fromkeys(FLOAT, "float"),
}
#: Most nodes looked through between an input and what quantises it.
_MOST_NODES: Final = 12


@dataclasses.dataclass(frozen=True)
class Product:
    """One product of an activation and a stored weight.

    Attributes:
        node: The node that multiplies.
        layer: Its layer's id, or the node's name.
        form: How it is computed, as far as the graph says.
        weight: What most of the weight's numbers are stored in.
        stored: The type of that tensor: ``int8``, ``float32``.
        input: The activation, as the node reads it.
        decoding: Nodes that compute the weight from what is stored.
        rounding: Nodes that quantise the input.
    """

    node: ir.Node
    layer: str
    form: Form
    weight: ir.TensorProtocol
    stored: str
    input: ir.Value
    decoding: tuple[ir.Node, ...]
    rounding: tuple[ir.Node, ...]

    @property
    def kernel(self) -> Kernel:
        """What kind of kernel the node itself is."""
        return _KERNEL_OF[self.node.op_type]

    @property
    def ours(self) -> bool:
        """Whether the kernel library computes it."""
        return self.node.op_type in _OURS

    @property
    def operator(self) -> str:
        """The operator, with its domain where that is not ONNX's own."""
        domain = self.node.domain
        return f"{domain}.{self.node.op_type}" if domain else self.node.op_type


def products(graph: ir.Graph) -> Iterator[Product]:
    """All products with stored weights, in graph order."""
    for node in graph:
        operands = _operands(node)
        if operands is None:
            continue
        data, weight = operands
        computed = constant_expression(weight)
        if computed is None or constant_expression(data) is not None:
            continue
        leaves, decoding = computed
        tensors = [ir.convenience.get_const_tensor(leaf) for leaf in leaves]
        stored = max((t for t in tensors if t is not None), key=lambda t: t.size)
        yield Product(
            node,
            layer_of(node),
            _form(node, data, stored, decoding),
            stored,
            str(stored.dtype.numpy()),
            data,
            tuple(decoding),
            tuple(_rounding(data)),
        )


def _operands(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """Activation and weight; a MatMul may have its weight on either side."""
    place = _WEIGHT_AT.get(node.op_type)
    if place is None or len(node.inputs) <= place:
        return None
    data, weight = node.inputs[0], node.inputs[place]
    if data is None or weight is None:
        return None
    turned = node.op_type == "MatMul" and constant_expression(weight) is None
    return (weight, data) if turned else (data, weight)


def _form(
    node: ir.Node, data: ir.Value, stored: ir.TensorProtocol, decoding: list[ir.Node]
) -> Form:
    kernel = _KERNEL_OF[node.op_type]
    if kernel != "float":
        return kernel
    if any(each.op_type == "DequantizeLinear" for each in decoding):
        return "weights" if _dequantize(data) is None else "integer"
    if decoding and stored.dtype.itemsize < ir.DataType.FLOAT.itemsize:
        return "storage"
    return "float16" if stored.dtype is ir.DataType.FLOAT16 else "float32"


def _dequantize(value: ir.Value) -> ir.Node | None:
    producer = value.producer()
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else None


def _rounding(data: ir.Value) -> Iterator[ir.Node]:
    """The nodes between a float activation and the product that round it to codes."""
    start = data.producer()
    if start is None or start.op_type not in (
        "DequantizeLinear",
        "QuantizeLinear",
        "DynamicQuantizeLinear",
    ):
        return
    source = _rounded_value(start)
    pending, seen = [start], {start}
    while pending and len(seen) <= _MOST_NODES:
        node = pending.pop()
        yield node
        for value in node.inputs:
            producer = None if value is None or value is source else value.producer()
            if producer is not None and producer not in seen:
                seen.add(producer)
                pending.append(producer)


def _rounded_value(node: ir.Node) -> ir.Value | None:
    """The float value that a (de)quantising node's codes are made of."""
    if node.op_type != "DequantizeLinear":
        return node.inputs[0]
    codes = node.inputs[0].producer() if node.inputs[0] is not None else None
    return None if codes is None else codes.inputs[0]

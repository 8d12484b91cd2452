"""Small questions about a graph that every part of the recogniser asks."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

#: Outputs of these tell how large or whether something is, not what it is: a length, a mask.
#: Data does not flow through them, so a mask computed from the features ties nothing together.
METADATA_OPS = frozenset({
    "Shape", "Size", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or",
    "Xor", "Not", "IsNaN", "IsInf", "NonZero", "ArgMax", "ArgMin",
})  # fmt: skip
#: Operators of which only the first input is data; the others say how to cut, shape or scale.
_FIRST_INPUT_IS_DATA = frozenset({
    "Reshape", "Expand", "Tile", "Slice", "Split", "Squeeze", "Unsqueeze", "Pad", "Clip",
    "Resize", "TopK", "Dropout", "QuantizeLinear", "DequantizeLinear", "ReduceMean",
    "ReduceSum", "ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceL2", "CumSum", "OneHot",
})  # fmt: skip
#: Every output element depends on the element at the same place (after broadcasting).
ELEMENTWISE_OPS = frozenset({
    "Abs", "Add", "Cast", "CastLike", "Celu", "Clip", "Div", "Dropout", "Elu", "Erf", "Exp",
    "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Min", "Mish",
    "Mul", "Neg", "Pow", "PRelu", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus",
    "Softsign", "Sqrt", "Sub", "Swish", "Tanh", "ThresholdedRelu", "Where", "QuickGelu",
    "FastGelu", "QuantizeLinear", "DequantizeLinear",
})  # fmt: skip
#: The elements stay what they are and only change place (or are left out, or padded).
LAYOUT_OPS = frozenset({
    "Concat", "Expand", "Flatten", "Gather", "GatherElements", "Pad", "Reshape", "Slice",
    "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "DepthToSpace", "SpaceToDepth",
})  # fmt: skip
#: Products of two values: of two activations in attention, of activation and weight elsewhere.
PRODUCT_OPS = frozenset(("MatMul", "Einsum", "FusedMatMul"))


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer or Constant node; None for anything computed."""
    if value is None or value.is_graph_input():
        return None
    return ir.convenience.get_const_tensor(value)


def scalar(value: ir.Value | None) -> float | None:
    """The number in a constant of one element; None for anything else."""
    tensor = constant(value)
    if tensor is None or tensor.size != 1:
        return None
    return float(tensor.numpy().reshape(-1)[0])


def dims(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """The shape with None for every axis of unknown or varying size; None for an unknown rank."""
    if value is None:
        return None
    tensor = constant(value)
    if tensor is not None:
        return tuple(tensor.shape.numpy())
    if value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else None for d in value.shape)


def captured(node: ir.Node) -> Iterator[ir.Value]:
    """Values of the surrounding graph that the bodies of an If, Loop or Scan use."""
    inner: set[ir.Value] = set()
    used: list[ir.Value] = []
    for attribute in node.attributes.values():
        graphs: list[ir.Graph] = []
        if attribute.type == ir.AttributeType.GRAPH:
            graphs.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs.extend(attribute.as_graphs())
        for graph in graphs:
            inner.update(graph.inputs)
            inner.update(graph.initializers.values())
            for each in ir.traversal.RecursiveGraphIterator(graph):
                inner.update(each.outputs)
                used.extend(v for v in each.inputs if v is not None)
            used.extend(graph.outputs)
    yield from dict.fromkeys(v for v in used if v not in inner)


def all_inputs(node: ir.Node) -> list[ir.Value]:
    """Every value that the node uses, those used inside its bodies too."""
    return [v for v in node.inputs if v is not None] + list(captured(node))


def data_inputs(node: ir.Node) -> list[ir.Value]:
    """The inputs whose content flows into the outputs (not shapes, indices of cuts, scales)."""
    if node.op_type in METADATA_OPS:
        return []
    if node.op_type in _FIRST_INPUT_IS_DATA:
        return [v for v in node.inputs[:1] if v is not None]
    if node.op_type == "Where":
        return [v for v in node.inputs[1:] if v is not None]
    return all_inputs(node)


def consumers(value: ir.Value) -> list[ir.Node]:
    """The nodes that use the value, each once, in no particular order."""
    return list(dict.fromkeys(use.node for use in value.uses()))


def data_consumers(value: ir.Value) -> list[ir.Node]:
    """The nodes into whose outputs the value's content flows."""
    return [n for n in consumers(value) if value in data_inputs(n)]


def only_consumer(value: ir.Value) -> ir.Node | None:
    """The one node that the value's content flows into; None if there are others or outputs."""
    found = data_consumers(value)
    return found[0] if len(found) == 1 and not value.is_graph_output() else None


def other_input(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """The second operand of a node with two, whichever side ``value`` is on."""
    if len(node.inputs) != 2:
        return None
    left, right = node.inputs
    return right if left is value else left


def is_product_of_activations(node: ir.Node) -> bool:
    """Whether the node multiplies matrices that are both computed from the input."""
    if node.op_type not in PRODUCT_OPS:
        return False
    return sum(constant_expression(v) is None for v in node.inputs if v is not None) >= 2


def constant_expression(
    value: ir.Value, limit: int = 16
) -> tuple[list[ir.Value], list[ir.Node]] | None:
    """The constants and nodes that compute a value from constants alone.

    Args:
        value: A value, for example the second input of a MatMul.
        limit: Most nodes to look through; a weight has a few (dequantise, transpose, scale).

    Returns:
        The constants at the leaves and the nodes between, or None if an input of the graph takes
        part or the expression is longer than the limit.
    """
    leaves: dict[ir.Value, None] = {}
    nodes: dict[ir.Node, None] = {}
    pending = [value]
    while pending:
        current = pending.pop()
        if constant(current) is not None:
            leaves[current] = None
            continue
        node = current.producer()
        if node is None or not node.inputs or len(nodes) >= limit:
            return None
        if node not in nodes:
            nodes[node] = None
            pending.extend(all_inputs(node))
    return list(leaves), list(nodes)

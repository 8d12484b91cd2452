"""How much there is in a model, before and after a stage."""

from __future__ import annotations

import math

import onnx_ir as ir

from .records import Census


def census(model: ir.Model) -> Census:
    """Counts nodes, stored numbers and their bytes, without reading the numbers."""
    nodes = parameters = stored = 0
    bodies: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for body in bodies:
        nodes += len(list(body.all_nodes()))
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                parameters += math.prod(value.const_value.shape.numpy())
                stored += value.const_value.nbytes
        for node in graph:
            tensor = _constant(node)
            if tensor is not None:
                parameters += math.prod(tensor.shape.numpy())
                stored += tensor.nbytes
    return Census(nodes=nodes, parameters=parameters, bytes=stored)


def _constant(node: ir.Node) -> ir.TensorProtocol | None:
    """The tensor of a Constant node, which exporters use like an initializer."""
    attribute = node.attributes.get("value") if node.op_type == "Constant" else None
    return attribute.as_tensor() if attribute is not None and not attribute.is_ref() else None

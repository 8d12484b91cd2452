"""Every shape of a model at stated input sizes, without running it.

Exporters compute sizes with chains of Shape, Gather and Concat; folding those at fixed input
sizes, with shape inference as it goes, leaves plain numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnxscript.optimizer import fold_constants_ir

from ..rewrite import add_initializer
from ..rewrites.versions import quiet
from .linear import find_products
from .macs import COUNTED_OPS

#: Only sizes and small index tables need to be folded, not weights.
_FOLD_BYTES = 16 * 1024
#: GreaterOrEqual and LessOrEqual, of which masks are made, have shape inference from here on; since
#: the opset before, operators got new types and attributes, but no other meaning.
_COMPARISONS_OPSET = 16
_OLDEST_PLAIN_OPSET = 13


def shapes_at(model: ir.Model, inputs: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The shapes of all values whose shape follows from the inputs' shapes.

    Args:
        model: The model; it is not changed.
        inputs: Shape by name for every graph input.

    Returns:
        Shape by value name. Values whose shape depends on data are missing.
    """
    model = model.clone()
    graph = model.graph
    for value in graph.inputs:
        shape = inputs.get(value.name or "")
        if shape is not None:
            value.shape = ir.Shape(shape)
    for node in graph:
        for value in node.outputs:
            value.shape = None
    version = graph.opset_imports.get("", 1)
    if version >= _OLDEST_PLAIN_OPSET:
        graph.opset_imports[""] = max(version, _COMPARISONS_OPSET)
    _write_out_lowered(graph)
    _fold(model)
    shapes: dict[str, tuple[int, ...]] = {}
    values = [*graph.inputs, *graph.initializers.values()]
    values += [value for node in graph for value in node.outputs]
    for value in values:
        if value.name and value.shape is not None and value.shape.is_static():
            shapes[value.name] = tuple(value.shape.numpy())
    return shapes


def _write_out_lowered(graph: ir.Graph) -> None:
    """Puts plain products in place of operators whose shapes ONNX's inference does not know."""
    for node, layer in find_products(graph).linears.items():
        if not node.domain:
            continue
        kind = layer.input.dtype or ir.DataType.FLOAT
        # One number, seen everywhere: the weight's shape without its memory.
        weight = np.broadcast_to(
            np.zeros((), kind.numpy()), (layer.in_features, layer.out_features)
        )
        node.op_type, node.domain = "MatMul", ""
        node.attributes.clear()
        node.resize_inputs(2)
        node.replace_input_with(0, layer.input)
        node.replace_input_with(1, add_initializer(graph, f"{node.name}.stand_in", weight))


def _fold(model: ir.Model) -> None:
    with quiet("onnxscript.optimizer._constant_folding"):
        fold_constants_ir(
            model,
            onnx_shape_inference=True,
            input_size_limit=_FOLD_BYTES,
            output_size_limit=_FOLD_BYTES,
            should_fold=_may_fold,
        )


def _may_fold(node: ir.Node) -> bool | None:
    """Sizes are folded, by default without ConstantOfShape; products stay, to be counted."""
    if node.op_type == "ConstantOfShape":
        return True
    return False if node.op_type in COUNTED_OPS else None

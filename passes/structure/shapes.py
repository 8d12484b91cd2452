"""Every shape of a model at stated input sizes, without running it.

Exporters compute sizes with chains of Shape, Gather and Concat; folding those at fixed input
sizes, with shape inference as it goes, leaves plain numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import onnx_ir as ir
from onnxscript.optimizer import fold_constants_ir

#: Only sizes and small index tables need to be folded, not weights.
_FOLD_BYTES = 16 * 1024


def shapes_at(
    model: ir.Model, inputs: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
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
        if value.name in inputs:
            value.shape = ir.Shape(inputs[value.name])
    for node in graph:
        for value in node.outputs:
            value.shape = None
    _fold(model)
    shapes: dict[str, tuple[int, ...]] = {}
    values = [*graph.inputs, *graph.initializers.values()]
    values += [value for node in graph for value in node.outputs]
    for value in values:
        if value.name and value.shape is not None and value.shape.is_static():
            shapes[value.name] = tuple(value.shape.numpy())
    return shapes


def _fold(model: ir.Model) -> None:
    logger = logging.getLogger("onnxscript.optimizer._constant_folding")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        fold_constants_ir(
            model,
            onnx_shape_inference=True,
            input_size_limit=_FOLD_BYTES,
            output_size_limit=_FOLD_BYTES,
            should_fold=lambda node: True if node.op_type == "ConstantOfShape" else None,
        )
    finally:
        logger.setLevel(level)

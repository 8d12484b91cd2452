"""QDQ nodes around one linear layer, in the format that a plan gives it."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .base import Journal
from .format_plan import Activations, LayerFormat
from .formats import FP8, HALVES, SCALE_DTYPES, QuantizedMatrix, quantize_matrix, stored_half
from .linear import MatMulLayer
from .operators.quantlinear import EPSILON
from .rewrite import Patch, constant, replace_value

#: Matrices with fewer weights gain nothing.
LEAST_WEIGHTS: Final = 1024
#: Linear layers as they are by default.
INT8_DYNAMIC: Final = LayerFormat(weight="int8", activations="int8")
#: ONNX got the types of 4-bit floats and 2-bit integers, and scales of E8M0, with these opsets.
_OPSETS: Final = {"fp4": 23, "int2": 25}
_E8M0_OPSET: Final = 24
#: The type and the largest value of activations.
_ACTIVATIONS: Final = {
    "int8": (ir.DataType.INT8, 127.0),
    "fp8": (ir.DataType.FLOAT8E4M3FN, FP8.top),
}


def opset_of(form: LayerFormat) -> int:
    """The least opset that can state a format; 0 where any can."""
    return max(_OPSETS.get(form.weight, 0), _E8M0_OPSET if form.scale_type == "e8m0" else 0)


@dataclasses.dataclass(frozen=True)
class Repaired:
    """What an error repair made of one layer (:mod:`confpress.optimizer.formats.repair`).

    Attributes:
        matrix: The quantised weight.
        bias: float32 [N], added to the layer's result; None adds nothing.
    """

    matrix: QuantizedMatrix
    bias: npt.NDArray[np.float32] | None = None


class LinearFormats:
    """Writes formats into the linear layers of a graph; what is equal is written once."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._inputs: dict[tuple[ir.Value, Activations], ir.Value] = {}
        self._weights: dict[tuple[ir.Value, LayerFormat, int], ir.Value] = {}

    def apply(
        self,
        layer: MatMulLayer,
        form: LayerFormat,
        importance: npt.NDArray[np.floating] | None,
        repaired: Repaired | None = None,
    ) -> None:
        """Gives a layer its format, or says why not.

        Args:
            layer: The layer.
            form: Its format.
            importance: E[x²] of its inputs, [K], for scales that are searched for.
            repaired: What a repair made of it.
        """
        reason = why_not_linear(layer, form)
        if reason is not None:
            self._journal.refuse(layer.id, reason)
            return
        if form.weight == "float32":
            return
        if constant(layer.input) is not None:
            # Runtimes compute it when they load the model; only the weight's bytes count.
            form = form.model_copy(update={"activations": "float32"})
        matrix = None if repaired is None else repaired.matrix
        key = (layer.weight, form, id(matrix))
        if key not in self._weights:
            self._weights[key] = _weight(layer, form, importance, matrix)
        layer.node.replace_input_with(1, self._weights[key])
        if form.activations != "float32":
            source = (layer.input, form.activations)
            if source not in self._inputs:
                self._inputs[source] = _dynamic_qdq(layer, form.activations)
            layer.node.replace_input_with(0, self._inputs[source])
        if repaired is not None and repaired.bias is not None:
            _add_bias(layer, repaired.bias)
        self._journal.change(
            layer.id, f"linear: {form.label}{'' if repaired is None else ', repaired'}"
        )


def why_not_linear(layer: MatMulLayer, form: LayerFormat = INT8_DYNAMIC) -> str | None:
    """Why a layer cannot have a format, in a sentence; None if it can."""
    weight = constant(layer.weight)
    if weight is None:
        return "its weight is quantised already"
    if weight.dtype != np.float32 or weight.size < LEAST_WEIGHTS:
        return f"{weight.size} weights of {weight.dtype}: too few, or not float32"
    if not np.isfinite(weight).all():
        return f"weight {layer.weight.name} holds infinities or NaN"
    rank = None if layer.input.shape is None else len(layer.input.shape)
    if form.activations != "float32" and rank == 1:
        return "its input is one vector, and activations are quantised frame by frame"
    others = {node.op_type for node in layer.weight.consumers()} - {"MatMul"}
    if form.activations == "float32" and others:
        return (
            f"weight {layer.weight.name} is read by {', '.join(sorted(others))} too, so a "
            "quantised copy would only add to the file"
        )
    return None


def _add_bias(layer: MatMulLayer, bias: npt.NDArray[np.float32]) -> None:
    """Adds to a layer's bias, which it is given where it has none."""
    old = constant(layer.bias)
    if layer.add is not None and layer.bias is not None and old is not None:
        patch = Patch(layer.add, layer.bias.name)
        new = patch.constant((old + bias).astype(np.float32), "repaired")
        layer.add.replace_input_with(layer.add.inputs.index(layer.bias), new)
        return
    result = layer.node.outputs[0]
    patch = Patch(layer.node)
    add = ir.node("Add", [result, patch.constant(bias, "bias")], name=f"{patch.name}/bias")
    add.metadata_props.update(layer.node.metadata_props)
    patch.graph.insert_after(layer.node, add)
    name = result.name
    replace_value(result, add.outputs[0])
    add.replace_input_with(0, result)
    result.name, add.outputs[0].name = f"{name}.unbiased", name


def _weight(
    layer: MatMulLayer,
    form: LayerFormat,
    importance: npt.NDArray[np.floating] | None,
    matrix: QuantizedMatrix | None = None,
) -> ir.Value:
    """The float32 value of the weight, behind the nodes that decode it."""
    array = constant(layer.weight)
    assert array is not None, "checked before"
    patch = Patch(layer.node, layer.weight.name)
    if form.weight in HALVES:
        half = stored_half(array, form.weight)
        result = patch.op("Cast", patch.constant(half, form.weight), to=int(ir.DataType.FLOAT))
    else:
        if matrix is None:
            matrix = quantize_matrix(array, form.scheme, importance, name=str(layer.weight.name))
        result = dequantize_nodes(patch, matrix)
    result.type, result.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(array.shape)
    return result


def dequantize_nodes(patch: Patch, matrix: QuantizedMatrix) -> ir.Value:
    """DequantizeLinear of a matrix: per channel on axis 1, per block on axis 0."""
    scheme = matrix.scheme
    blocked = scheme.granularity == "block"
    shape = {"block": matrix.scales.shape, "channel": matrix.scales.shape[1:], "tensor": ()}
    grouped = shape[scheme.granularity]
    scales = matrix.scales.reshape(grouped).astype(SCALE_DTYPES[scheme.scale_type])
    scale = patch.constant(scales, "scale")
    if scheme.scale_type != "float32":
        scale = patch.op("Cast", scale, to=int(ir.DataType.FLOAT))
    inputs = [patch.constant(matrix.codes, scheme.number.name), scale]
    if matrix.points is not None:
        inputs.append(patch.constant(matrix.points.reshape(grouped), "zero_point"))
    if blocked:
        return patch.op("DequantizeLinear", *inputs, axis=0, block_size=scheme.block)
    return patch.op("DequantizeLinear", *inputs, axis=1)


def _dynamic_qdq(layer: MatMulLayer, kind: Activations) -> ir.Value:
    """One scale per frame (row), computed from the frame: its largest magnitude is the top code."""
    value, width = layer.input, layer.weight.shape[0] if layer.weight.shape else None
    assert isinstance(width, int), "weights have constant shapes"
    patch = Patch(layer.node, value.name)
    dtype, top = _ACTIVATIONS[kind]
    largest = patch.op("ReduceMax", patch.op("Abs", value), patch.ints(-1), keepdims=1)
    epsilon = patch.constant(np.array(EPSILON, np.float32), "epsilon")
    divisor = patch.constant(np.array(top, np.float32), f"{top:g}")
    scale = patch.op("Div", patch.op("Max", largest, epsilon), divisor)
    grouping: dict[str, Any] = {"axis": -1, "block_size": width}
    codes = patch.op("QuantizeLinear", value, scale, output_dtype=int(dtype), **grouping)
    codes.dtype, codes.shape = dtype, value.shape
    result = patch.op("DequantizeLinear", codes, scale, **grouping)
    result.type, result.shape = value.type, value.shape
    return result

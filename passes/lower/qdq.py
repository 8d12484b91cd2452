"""What the QDQ nodes around a linear layer say, read from structure.

The interchange model states how a layer's activations are treated by the nodes in front of it:
dynamic per frame is ``QuantizeLinear(x, s)`` with ``s = Max(ReduceMax(Abs(x), -1), eps) / 127``
followed by the same DequantizeLinear (:mod:`confpress.passes.quantize` writes it).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..errors import ConfpressError
from ..formats import FP8
from ..linear import MatMulLayer, matmul_layers
from ..rewrite import constant, producer, scalar
from .stored import stored_weight_of

#: The code of the largest magnitude of a frame, by the type of its codes.
_TOPS = {ir.DataType.INT8: 127.0, ir.DataType.FLOAT8E4M3FN: FP8.top}


@dataclasses.dataclass(frozen=True)
class Int8Linear:
    """A linear layer whose weights are int8 per output channel and whose frames are int8 dynamic.

    Attributes:
        layer: The MatMul and its bias.
        input: The float value before its quantisation, [..., K].
        codes: int8 [K, N].
        scales: float32 [N].
        bias: float32 [N]; zeros where the layer has none.
    """

    layer: MatMulLayer
    input: ir.Value
    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def int8_linears(model: ir.Model) -> Iterator[Int8Linear]:
    """The layers of the interchange model that compute in int8 per frame.

    Each is looked up when it is asked for, so the graph may be rewritten between two of them: the
    result of one layer is the input of the next.
    """
    for layer in matmul_layers(model.graph):
        dequantize = layer.weight.producer()
        weight = None if dequantize is None else stored_weight_of(dequantize)
        source = dynamic_source(layer.input)
        if weight is None or source is None or weight.dtype is not ir.DataType.INT8:
            continue
        if weight.axis != 1 or weight.scales.shape != weight.codes.shape[1:]:
            continue
        # Neither the kernels nor ONNX Runtime's fast path take zero points of weights.
        if weight.points is not None and weight.points.any():
            continue
        bias = bias_of(layer, weight.codes.shape[1])
        yield Int8Linear(layer, source, weight.codes, weight.scales, bias)


def bias_of(layer: MatMulLayer, width: int) -> npt.NDArray[np.float32]:
    """The layer's bias, float32 [N]; zeros where it has none."""
    bias = constant(layer.bias)
    return np.zeros(width, np.float32) if bias is None else bias


def dynamic_source(value: ir.Value, dtype: ir.DataType = ir.DataType.INT8) -> ir.Value | None:
    """The float value behind a dynamic per-frame QDQ pair of a type, or None."""
    dequantize = value.producer()
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return None
    codes, scale = dequantize.inputs[0], dequantize.inputs[1]
    quantize = codes.producer() if codes is not None else None
    if quantize is None or quantize.op_type != "QuantizeLinear" or quantize.inputs[1] is not scale:
        return None
    if quantize.attributes.get_int("output_dtype", 0) != dtype:
        return None
    source = quantize.inputs[0]
    return source if source is not None and _is_scale_of(scale, source, _TOPS[dtype]) else None


def refuse_lowered(model: ir.Model) -> None:
    """Refuses a model that was lowered before.

    Raises:
        ConfpressError: The model holds operators that only lowering writes.
    """
    for node in model.graph:
        if node.domain.startswith("confpress.") or node.op_type == "DynamicQuantizeMatMul":
            raise ConfpressError(
                f"the model is lowered already (node '{node.name}' is {node.op_type}); "
                "start from the interchange model or the original"
            )


def _is_scale_of(scale: ir.Value | None, source: ir.Value, top: float) -> bool:
    """Whether scale is Max(ReduceMax(Abs(source)), eps) / top."""
    division = producer(scale, "Div")
    if division is None or scalar(division.inputs[1]) != top:
        return False
    bound = producer(division.inputs[0], "Max")
    if bound is None or scalar(bound.inputs[1]) is None:
        return False
    largest = producer(bound.inputs[0], "ReduceMax")
    magnitude = producer(largest.inputs[0], "Abs") if largest is not None else None
    return magnitude is not None and magnitude.inputs[0] is source

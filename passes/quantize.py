"""Quantize: standard QDQ nodes that say, layer by layer, which numbers a product is made of.

Linear layers: weights int8 per output channel; activations int8 per frame with a scale that is
computed from the frame (dynamic). Convolutions of the subsampling: weights int8 per output
channel; activations uint8 with constant ranges from calibration (static), QDQ on the output too,
without which ONNX Runtime does not compute in integers. Everything else stays float.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from .base import InPlacePass, Journal, PassResult, layer_of
from .linear import MatMulLayer, matmul_layers, only_user
from .quantlinear import EPSILON
from .rewrite import Patch, constant
from .versions import WORKING_OPSET, raise_opset

#: Matrices with fewer weights gain nothing from int8.
_LEAST_WEIGHTS = 1024

Format = Literal["int8", "float32"]


@dataclasses.dataclass(frozen=True)
class Range:
    """Smallest and largest value that calibration saw (or kept)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"[{self.low}, {self.high}] is no range")


@dataclasses.dataclass(frozen=True)
class Quantize(InPlacePass):
    """Inserts QuantizeLinear and DequantizeLinear around linear layers and convolutions.

    1. MatMul with a constant matrix: dynamic per frame, ``s = max(max|x|, eps) / 127``.
    2. Conv with several output channels per group over [batch, channels, ...]: static, from
       ``ranges``. Depthwise convolutions stay float.

    Attributes:
        linear: Format of linear layers.
        convolution: Format of convolutions.
        exclude: Patterns of layer ids that stay float (``encoder.layers.0.*``).
        ranges: Calibrated range by value name; see :func:`values_to_calibrate`.
    """

    linear: Format = "int8"
    convolution: Format = "int8"
    exclude: tuple[str, ...] = ()
    ranges: Mapping[str, Range] = dataclasses.field(default_factory=dict)

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        if self.linear == "float32" and self.convolution == "float32":
            return journal.result(model)
        if raise_opset(model, WORKING_OPSET):
            journal.change("opset", f"raised to {WORKING_OPSET} for per-frame scales")
        dynamic: dict[ir.Value, ir.Value] = {}
        static: dict[ir.Value, ir.Value] = {}
        if self.linear == "int8":
            for layer in list(matmul_layers(model.graph)):
                if self._wants(layer.id, journal):
                    _linear(layer, dynamic, journal)
        if self.convolution == "int8":
            for node in list(model.graph):
                if node.op_type == "Conv" and self._wants(layer_of(node), journal):
                    self._convolution(node, static, journal)
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)

    def _wants(self, layer: str, journal: Journal) -> bool:
        for pattern in self.exclude:
            if fnmatch.fnmatchcase(layer, pattern):
                journal.refuse(layer, f"excluded by the pattern '{pattern}'")
                return False
        return True

    def _convolution(
        self, node: ir.Node, static: dict[ir.Value, ir.Value], journal: Journal
    ) -> None:
        reason = _why_not_convolution(node)
        source, result = node.inputs[0], quantized_output(node)
        # The result of a convolution before this one is quantised already.
        done = source in static.values()
        missing = [
            value.name
            for value in (() if done else (source,)) + (result,)
            if value is not None and value.name not in self.ranges
        ]
        if reason is None and missing:
            reason = f"no calibrated range for {' and '.join(map(str, missing))}"
        if reason is not None or source is None:
            journal.refuse(layer_of(node), reason or "it has no input")
            return
        if not done:
            if source not in static:
                static[source] = _static_qdq(Patch(node, source.name), source, self.ranges)
            node.replace_input_with(0, static[source])
        weight = constant(node.inputs[1])
        assert weight is not None
        codes, scales = int8_codes(weight.reshape(weight.shape[0], -1))
        patch = Patch(node, node.inputs[1].name if node.inputs[1] else None)
        node.replace_input_with(1, _dequantized(patch, codes.reshape(weight.shape), scales, axis=0))
        users = [(use.node, use.idx) for use in result.uses()]
        after = _node_after(result)
        quantized = _static_qdq(Patch(after, result.name), result, self.ranges)
        static[result] = quantized
        for user, index in users:
            user.replace_input_with(index, quantized)
        journal.change(layer_of(node), "convolution: int8 per channel, activations uint8 static")


def values_to_calibrate(model: ir.Model) -> list[str]:
    """Names of the values whose ranges :class:`Quantize` needs, in graph order."""
    names: dict[str, None] = {}
    for node in model.graph:
        if node.op_type == "Conv" and _why_not_convolution(node) is None:
            for value in (node.inputs[0], quantized_output(node)):
                if value is not None and value.name:
                    names[value.name] = None
    return list(names)


def quantized_output(conv: ir.Node) -> ir.Value:
    """The value that carries a convolution's output QDQ: behind its ReLU where it has one.

    The ReLU disappears into the quantisation when the range starts at zero.
    """
    user = only_user(conv.outputs[0])
    return user.outputs[0] if user is not None and user.op_type == "Relu" else conv.outputs[0]


def int8_codes(
    weight: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric int8 codes per row.

    Args:
        weight: float32 [rows, columns].

    Returns:
        Codes int8 [rows, columns] within ±127 and scales float32 [rows]; a row of zeros has
        scale 1.
    """
    largest = np.abs(weight).max(axis=1)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    codes = np.clip(np.rint(weight / scales[:, None]), -127, 127).astype(np.int8)
    return codes, scales


def _linear(layer: MatMulLayer, dynamic: dict[ir.Value, ir.Value], journal: Journal) -> None:
    weight = constant(layer.weight)
    if weight is None:
        journal.refuse(layer.id, "its weight is quantised already")
        return
    if weight.dtype != np.float32 or weight.size < _LEAST_WEIGHTS:
        journal.refuse(
            layer.id, f"{weight.size} weights of {weight.dtype}: too few, or not float32"
        )
        return
    if not np.isfinite(weight).all():
        journal.refuse(layer.id, f"weight {layer.weight.name} holds infinities or NaN")
        return
    if layer.input not in dynamic:
        dynamic[layer.input] = _dynamic_qdq(
            Patch(layer.node, layer.input.name), layer.input, weight.shape[0]
        )
    codes, scales = int8_codes(np.ascontiguousarray(weight.T))
    patch = Patch(layer.node, layer.weight.name)
    dequantized = _dequantized(patch, np.ascontiguousarray(codes.T), scales, axis=1)
    layer.node.replace_input_with(0, dynamic[layer.input])
    layer.node.replace_input_with(1, dequantized)
    journal.change(layer.id, "linear: int8 per channel, activations int8 per frame")


def _dynamic_qdq(patch: Patch, value: ir.Value, width: int) -> ir.Value:
    """Int8 with one scale per frame (row), computed from the frame."""
    last = patch.ints(-1)
    largest = patch.op("ReduceMax", patch.op("Abs", value), last, keepdims=1)
    epsilon = patch.constant(np.array(EPSILON, np.float32), "epsilon")
    top = patch.constant(np.array(127, np.float32), "127")
    scale = patch.op("Div", patch.op("Max", largest, epsilon), top)
    codes = patch.op(
        "QuantizeLinear",
        value,
        scale,
        axis=-1,
        block_size=width,
        output_dtype=int(ir.DataType.INT8),
    )
    codes.dtype, codes.shape = ir.DataType.INT8, value.shape
    result = patch.op("DequantizeLinear", codes, scale, axis=-1, block_size=width)
    result.type, result.shape = value.type, value.shape
    return result


def _static_qdq(patch: Patch, value: ir.Value, ranges: Mapping[str, Range]) -> ir.Value:
    """Uint8 with one constant scale and zero point; the range is widened to hold zero."""
    assert value.name is not None
    low, high = min(ranges[value.name].low, 0.0), max(ranges[value.name].high, 0.0)
    step = (high - low) / 255 or 1.0
    scale = patch.constant(np.array(step, np.float32), "scale")
    zero = patch.constant(np.array(round(-low / step), np.uint8), "zero_point")
    codes = patch.op("QuantizeLinear", value, scale, zero)
    codes.dtype, codes.shape = ir.DataType.UINT8, value.shape
    result = patch.op("DequantizeLinear", codes, scale, zero)
    result.type, result.shape = value.type, value.shape
    return result


def _dequantized(
    patch: Patch, codes: npt.NDArray[np.int8], scales: npt.NDArray[np.float32], axis: int
) -> ir.Value:
    result = patch.op(
        "DequantizeLinear",
        patch.constant(codes, "int8"),
        patch.constant(scales, "scale"),
        axis=axis,
    )
    result.type, result.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(codes.shape)
    return result


def _why_not_convolution(node: ir.Node) -> str | None:
    weight = constant(node.inputs[1])
    if weight is None:
        return "its weight is computed, not stored"
    if weight.dtype != np.float32 or not np.isfinite(weight).all():
        return f"its weight is {weight.dtype} or holds infinities or NaN"
    if weight.ndim != 4:
        return "only two-dimensional convolutions run in integers on every runtime"
    if weight.shape[1] == 1 and 1 < weight.shape[0] == node.attributes.get_int("group", 1):
        return "depthwise convolutions stay float: they move more bytes than they multiply"
    return None


def _node_after(value: ir.Value) -> ir.Node:
    """The first node that comes after the producer of a value, in graph order."""
    producer = value.producer()
    assert producer is not None and producer.graph is not None
    found = False
    for node in producer.graph:
        if found:
            return node
        found = node is producer
    raise ValueError(f"{value.name} is produced by the last node")

"""DepthwiseConv2d and QuantConv2d for tests: their models, arrays and definitions in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from confpress.passes.operators.depthwiseconv2d import (
    ROW_EPSILON,
    ConvActivation,
    depthwise_conv2d_function,
    depthwise_conv2d_node,
)
from confpress.passes.operators.functions import define
from confpress.passes.operators.quantconv2d import quant_conv2d_function, quant_conv2d_node
from confpress.passes.operators.sparseconv2d import (
    from_pieces,
    pack_sparse_conv2d,
    pieces,
    sparse_conv2d_function,
    sparse_conv2d_node,
)
from confpress.passes.operators.sparselinear import Pattern
from confpress.passes.sparsify import kept_by

from .quant_layers import initializer

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Conv2dCase:
    """One problem: sizes of the input [batch, time, columns, channels] and of the window."""

    batch: int
    time: int
    columns: int
    inputs: int
    outputs: int
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (2, 2)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    activation: ConvActivation = "relu"
    largest: int = 127  # magnitude of a quantised weight

    def convolved(self, x: Array, weight: Array, bias: Array) -> npt.NDArray[np.float64]:
        """Tap by tap in float64, activation included; weight [N, C or 1, kernel T, kernel F]."""
        front, left, back, right = self.pads
        padded = np.pad(x.astype(np.float64), ((0, 0), (front, back), (left, right), (0, 0)))
        sizes = [
            max(0, (padded.shape[axis + 1] - self.kernel[axis]) // self.strides[axis] + 1)
            for axis in range(2)
        ]
        y = np.zeros((x.shape[0], *sizes, weight.shape[0])) + bias
        for row in range(self.kernel[0]):
            for column in range(self.kernel[1]):
                part = padded[:, row :: self.strides[0], column :: self.strides[1]]
                part = part[:, : sizes[0], : sizes[1]]
                taps = weight[:, :, row, column].astype(np.float64)
                y += part * taps[:, 0] if taps.shape[1] == 1 else part @ taps.T
        if self.activation == "relu":
            return np.maximum(y, 0)
        return y / (1 + np.exp(-y)) if self.activation == "silu" else y

    def depthwise_weights(self) -> dict[str, Array]:
        generator = np.random.default_rng(5)
        return {
            "W": generator.standard_normal((self.outputs, 1, *self.kernel), np.float32),
            "bias": generator.standard_normal(self.outputs, np.float32),
        }

    def depthwise_model(
        self, *, of_uint8: bool = False, to_uint8: bool = False, opset: int = 17
    ) -> onnx.ModelProto:
        """Input x, or codes, scales and zeros; outputs y, or y_codes, y_scales, y_zeros."""
        x = ir.val("x", ir.DataType.FLOAT, ["b", "t", "f", "c"])
        given = _coded_rows() if of_uint8 else [x]
        weights = [initializer(*item) for item in self.depthwise_weights().items()]
        node = depthwise_conv2d_node(
            [*given, *weights],
            group=self.inputs,
            strides=self.strides,
            pads=self.pads,
            activation=self.activation,
            to_uint8=to_uint8,
            name="conv",
        )
        names = tuple(f"y_{name}" for name in CODED) if to_uint8 else ("y",)
        function = depthwise_conv2d_function(
            self.activation, of_uint8=of_uint8, to_uint8=to_uint8, opset=opset
        )
        return _model(given, node, names, weights, function)

    def x(self) -> npt.NDArray[np.float32]:
        generator = np.random.default_rng(6)
        shape = (self.batch, self.time, self.columns, self.inputs)
        return generator.standard_normal(shape, np.float32) * 3

    def quant_weights(self) -> dict[str, Array]:
        generator = np.random.default_rng(7)
        shape = (self.outputs, self.inputs, *self.kernel)
        return {
            "W": generator.integers(-self.largest, self.largest + 1, shape).astype(np.int8),
            "W_scales": generator.uniform(1e-3, 1e-2, shape[:1] + shape[2:3]).astype(np.float32),
            "bias": generator.standard_normal(self.outputs).astype(np.float32),
        }

    def quant_model(self, opset: int = 17) -> onnx.ModelProto:
        """Inputs codes, scales, zeros; output y."""
        given = _coded_rows()
        weights = [initializer(*item) for item in self.quant_weights().items()]
        node = quant_conv2d_node(
            [*given, *weights],
            strides=self.strides,
            pads=self.pads,
            activation=self.activation,
            name="conv",
        )
        function = quant_conv2d_function(self.activation, opset=opset)
        return _model(given, node, ("y",), weights, function)

    def codes(self, *, signed: bool = True) -> dict[str, Array]:
        """Random codes; of rows that are never negative the zero point is 0."""
        generator = np.random.default_rng(8)
        shape = (self.batch, self.time, self.columns, self.inputs)
        return {
            "codes": generator.integers(0, 256, shape).astype(np.uint8),
            "scales": generator.uniform(1e-3, 1e-1, shape[:2]).astype(np.float32),
            "zeros": (generator.integers(0, 256, shape[:2]) * signed).astype(np.uint8),
        }

    def quant_expected(self, feeds: dict[str, Array]) -> npt.NDArray[np.float64]:
        weights = self.quant_weights()
        w = weights["W"] * weights["W_scales"].astype(np.float64)[:, None, :, None]
        return self.convolved(decoded(feeds), w, weights["bias"])


@dataclass(frozen=True)
class SparseConv2dCase(Conv2dCase):
    """The same with weights that fit a pattern, as SparseConv2d."""

    pattern: Pattern = Pattern(16, 16)  # noqa: RUF009 (frozen)

    def quant_weights(self) -> dict[str, Array]:
        dense = super().quant_weights()
        rows = pieces(dense["W"])
        keep = kept_by(np.random.default_rng(9).random(rows.shape, np.float32), self.pattern)
        return dense | {"W": np.where(from_pieces(keep, dense["W"].shape), dense["W"], 0)}

    def quant_model(self, opset: int = 17) -> onnx.ModelProto:
        given, arrays = _coded_rows(), self.quant_weights()
        shape = arrays["W"].shape
        packed, columns = pack_sparse_conv2d(arrays.pop("W"), self.pattern)
        arrays = {"W": packed, "columns": columns} | arrays
        weights = [initializer(*item) for item in arrays.items()]
        node = sparse_conv2d_node(
            [*given, *weights],
            shape=shape,
            strides=self.strides,
            pads=self.pads,
            activation=self.activation,
            name="conv",
        )
        function = sparse_conv2d_function(self.activation, opset=opset)
        return _model(given, node, ("y",), weights, function)


#: What stands for rows of numbers.
CODED = ("codes", "scales", "zeros")


def _coded_rows() -> list[ir.Value]:
    """The inputs of convolutions of codes."""
    return [
        ir.val("codes", ir.DataType.UINT8, ["b", "t", "f", "c"]),
        ir.val("scales", ir.DataType.FLOAT, ["b", "t"]),
        ir.val("zeros", ir.DataType.UINT8, ["b", "t"]),
    ]


#: Of float32 sums of order 10 in another order.
TOLERANCE = 3e-6


def assert_close(y: Array, expected: Array) -> None:
    """Same shape, and numbers within the tolerance of the largest."""
    assert y.shape == expected.shape
    if y.size:
        np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def decoded(rows: dict[str, Array]) -> npt.NDArray[np.float64]:
    """The numbers that codes stand for."""
    centred = rows["codes"].astype(np.float64) - rows["zeros"][..., None, None]
    return np.asarray(centred * rows["scales"][..., None, None].astype(np.float64))


def encoded(rows: Array) -> dict[str, Array]:
    """Rows [b, t, f, c] to codes, scales and zeros, operation by operation in float32."""
    zero, top = np.float32(0), np.float32(255)
    low = np.minimum(rows.min(axis=(2, 3)), zero)
    extent = np.maximum(np.maximum(rows.max(axis=(2, 3)), zero) - low, np.float32(ROW_EPSILON))
    inverse = top / extent
    zeros = np.rint(-low * inverse)
    codes = np.rint(rows * inverse[..., None, None]) + zeros[..., None, None]
    return {
        "codes": np.minimum(codes, top).astype(np.uint8),
        "scales": extent / top,
        "zeros": zeros.astype(np.uint8),
    }


def _model(
    given: Sequence[ir.Value],
    node: ir.Node,
    names: Sequence[str],
    weights: Sequence[ir.Value],
    function: ir.Function,
) -> onnx.ModelProto:
    for output, name in zip(node.outputs, names, strict=True):
        output.name = name
    graph = ir.Graph(
        given,
        node.outputs,
        nodes=[node],
        initializers=weights,
        opset_imports={"": function.opset_imports[""]},
        name="conv",
    )
    model = ir.Model(graph, ir_version=8)
    define(model, function)
    return ir.to_proto(model)

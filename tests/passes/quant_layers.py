"""QuantLinear layers for tests: their ONNX model and their definition in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
from confpress.passes.operators.functions import define_operator
from confpress.passes.operators.quantlinear import (
    EPSILON,
    QMAX,
    pack_int8,
    quant_linear_function,
    quant_linear_node,
)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class QuantLayer:
    """Codes int8 [N, K], scales float32 [N], bias float32 [N]."""

    codes: npt.NDArray[np.int8]
    scales: Floats
    bias: Floats

    @classmethod
    def random(cls, n: int, k: int, seed: int = 0) -> QuantLayer:
        generator = np.random.default_rng(seed)
        return cls(
            generator.integers(-127, 128, (n, k)).astype(np.int8),
            generator.uniform(1e-3, 1e-2, n).astype(np.float32),
            generator.standard_normal(n).astype(np.float32),
        )

    @classmethod
    def of_codes(cls, codes: npt.NDArray[np.int8]) -> QuantLayer:
        """A layer that adds and scales nothing."""
        n = codes.shape[0]
        return cls(codes, np.ones(n, np.float32), np.zeros(n, np.float32))

    def model(self, activation: str = "", *, opset: int = 17, rank: int = 2) -> onnx.ModelProto:
        """Input x [..., K] with leading dimensions that are free, output y."""
        weights = [
            initializer("weight", pack_int8(self.codes)),
            initializer("scales", self.scales),
            initializer("bias", self.bias),
        ]

        def node(x: ir.Value) -> ir.Node:
            return quant_linear_node(
                x, *weights, shape=self.codes.shape, activation=activation, name="layer"
            )

        model = layer_model(node, weights, self.codes.shape[1], opset=opset, rank=rank)
        define_operator(model, quant_linear_function, activation)
        return ir.to_proto(model)

    def quantise(self, x: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
        """The frames' codes and scales."""
        largest = np.abs(x).max(axis=-1, keepdims=True)
        s = np.maximum(largest, np.float32(EPSILON)) / np.float32(QMAX)
        return np.clip(np.rint(x / s), -QMAX, QMAX).astype(np.int64), s

    def linear(self, x: Floats) -> Floats:
        """The output without an activation, operation by operation in float32."""
        q, s = self.quantise(x)
        sums = q @ self.codes.T.astype(np.int64)
        return sums.astype(np.float32) * s * self.scales + self.bias


def silu(z: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """z · sigmoid(z) in float64."""
    z = z.astype(np.float64)
    return z / (1 + np.exp(-z))


def activated(activation: str, z: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The activation of z in float64."""
    z = z.astype(np.float64)
    with np.errstate(over="ignore"):
        match activation:
            case "":
                return z
            case "silu":
                return silu(z)
            case "relu":
                return np.where(z < 0, 0, z)
            case "gelu":
                return z * 0.5 * np.vectorize(math.erfc)(-z / math.sqrt(2))
            case "gelu_tanh":
                cube = np.clip(z, -1e3, 1e3) ** 3
                return z * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * cube)))
            case "sigmoid":
                return 1 / (1 + np.exp(-z))
    raise KeyError(activation)


def session(
    model: onnx.ModelProto, library: str | None = None, threads: int = 1
) -> ort.InferenceSession:
    """A session that says nothing; without the library it runs the function body."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if library is not None:
        options.register_custom_ops_library(library)
    return ort.InferenceSession(model.SerializeToString(), options)


def run(session: ort.InferenceSession, x: Floats) -> Floats:
    """The output y."""
    (y,) = session.run(["y"], {"x": x})
    return np.asarray(y)


def initializer(name: str, array: npt.NDArray[Any]) -> ir.Value:
    """A constant of a model."""
    tensor = ir.tensor(array, name=name)
    value = ir.val(name, tensor.dtype, tensor.shape)
    value.const_value = tensor
    return value


def layer_model(
    node_of: Callable[[ir.Value], ir.Node],
    weights: list[ir.Value],
    k: int,
    *,
    opset: int,
    rank: int,
) -> ir.Model:
    """A model of one node: input x [..., K] with leading dimensions that are free, output y."""
    x = ir.val("x", ir.DataType.FLOAT, [*(f"d{i}" for i in range(rank - 1)), k])
    node = node_of(x)
    node.outputs[0].name = "y"
    graph = ir.Graph(
        [x],
        node.outputs,
        nodes=[node],
        initializers=weights,
        opset_imports={"": opset},
        name="layer",
    )
    return ir.Model(graph, ir_version=8)

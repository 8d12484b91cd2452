"""SparseLinearFloat layers for tests: their ONNX model and their definition in numpy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from confpress.passes.operators.functions import define_operator
from confpress.passes.operators.sparselinear_float import (
    pack_sparse_float,
    sparse_float_function,
    sparse_float_node,
)

from .quant_layers import Floats, initializer, layer_model


@dataclasses.dataclass(frozen=True)
class SparseFloatLayer:
    """Weight float32 or bfloat16 [N, K] and bias float32 [N]."""

    weight: npt.NDArray[Any]
    bias: Floats

    @classmethod
    def random(cls, n: int, k: int, kept: int, seed: int = 0) -> SparseFloatLayer:
        """Gaussian weights of which every row keeps some in every block of 64, at any columns."""
        generator = np.random.default_rng(seed)
        weight = generator.standard_normal((n, k)).astype(np.float32)
        order = generator.random((n, k))
        for start in range(0, k, 64):
            span = order[:, start : start + 64]
            weight[:, start : start + 64][span.argsort(1).argsort(1) >= kept] = 0
        return cls(weight, generator.standard_normal(n).astype(np.float32))

    def stored(self, dtype: npt.DTypeLike) -> SparseFloatLayer:
        """The layer with its weight in another type."""
        return dataclasses.replace(self, weight=self.weight.astype(dtype))

    def model(self, activation: str = "", *, opset: int = 17, rank: int = 2) -> onnx.ModelProto:
        """Input x [..., K] with leading dimensions that are free, output y."""
        packed, columns = pack_sparse_float(self.weight)
        weights = [
            initializer("weight", packed),
            initializer("columns", columns),
            initializer("bias", self.bias),
        ]

        def node(x: ir.Value) -> ir.Node:
            return sparse_float_node(
                x, *weights, shape=self.weight.shape, activation=activation, name="layer"
            )

        model = layer_model(node, weights, self.weight.shape[1], opset=opset, rank=rank)
        define_operator(model, sparse_float_function, activation)
        return ir.to_proto(model)

    def linear(self, x: Floats) -> npt.NDArray[np.float64]:
        """The output without an activation, in float64."""
        return x.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias

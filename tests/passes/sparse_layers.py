"""SparseLinear layers for tests: a QuantLinear layer whose zeros are balanced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from confpress.passes.operators.sparselinear import Pattern, define_sparse, pack_sparse, sparse_node

from .quant_layers import QuantLayer, initializer, layer_model


@dataclass(frozen=True)
class SparseLayer(QuantLayer):
    """Codes int8 [N, K] that fit a pattern, scales float32 [N], bias float32 [N]."""

    pattern: Pattern

    @classmethod
    def balanced(cls, n: int, k: int, pattern: Pattern, seed: int = 0) -> SparseLayer:
        """Random codes of which every span keeps as many as the pattern says, at random places."""
        dense = QuantLayer.random(n, k, seed)
        order = np.random.default_rng(seed + 1).random((n, k))
        share = pattern.kept * pattern.span // 64
        for start in range(0, k, pattern.span):
            span = order[:, start : start + pattern.span]
            dense.codes[:, start : start + pattern.span][span.argsort(1).argsort(1) >= share] = 0
        return cls(dense.codes, dense.scales, dense.bias, pattern)

    def model(self, activation: str = "", *, opset: int = 17, rank: int = 2) -> onnx.ModelProto:
        """Input x [..., K] with leading dimensions that are free, output y."""
        packed, columns = pack_sparse(self.codes, self.pattern)
        weights = [
            initializer("weight", packed),
            initializer("columns", columns),
            initializer("scales", self.scales),
            initializer("bias", self.bias),
        ]

        def node(x: ir.Value) -> ir.Node:
            return sparse_node(
                x, *weights, shape=self.codes.shape, activation=activation, name="layer"
            )

        model = layer_model(node, weights, self.codes.shape[1], opset=opset, rank=rank)
        define_sparse(model, activation)
        return ir.to_proto(model)

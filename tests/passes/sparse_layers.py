"""Sparse int8 layers for tests: a QuantLinear layer whose zeros are balanced, or uneven."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from confpress.passes.operators.functions import define_operator
from confpress.passes.operators.sparselinear import (
    Pattern,
    pack_sparse,
    sparse_function,
    sparse_node,
)
from confpress.passes.operators.sparselinear_uneven import (
    pack_uneven,
    uneven_function,
    uneven_node,
)

from .quant_layers import QuantLayer, initializer, layer_model


def sparse_weight(
    rows: int, columns: int, kept: int, *, of: int = 64, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Random weights of which so many columns keep as many in every row, at random places."""
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((rows, columns)).astype(np.float32)
    order = generator.random((rows, columns))
    for start in range(0, columns, of):
        span = order[:, start : start + of]
        weight[:, start : start + of][span.argsort(1).argsort(1) >= kept] = 0
    return weight


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
        define_operator(model, sparse_function, activation)
        return ir.to_proto(model)


@dataclass(frozen=True)
class UnevenLayer(QuantLayer):
    """Codes int8 [N, K] of which spans of columns keep different numbers."""

    span: int

    @classmethod
    def random(cls, n: int, k: int, span: int, slots: int = 2, seed: int = 0) -> UnevenLayer:
        """Random codes of which every span keeps up to so many slots of four, at random places."""
        dense = QuantLayer.random(n, k, seed)
        generator = np.random.default_rng(seed + 1)
        order = generator.random((n, k))
        for start in range(0, k, span):
            columns = order[:, start : start + span]
            kept = 4 * generator.integers(slots + 1)
            dense.codes[:, start : start + span][columns.argsort(1).argsort(1) >= kept] = 0
        return cls(dense.codes, dense.scales, dense.bias, span)

    def model(self, activation: str = "", *, opset: int = 17, rank: int = 2) -> onnx.ModelProto:
        """Input x [..., K] with leading dimensions that are free, output y."""
        parts = pack_uneven(self.codes, self.span)._asdict()
        packed = [initializer(name, array) for name, array in parts.items()]
        rest = [initializer("scales", self.scales), initializer("bias", self.bias)]

        def node(x: ir.Value) -> ir.Node:
            return uneven_node(
                x, *packed, *rest, shape=self.codes.shape, activation=activation, name="layer"
            )

        k = self.codes.shape[1]
        model = layer_model(node, [*packed, *rest], k, opset=opset, rank=rank)
        define_operator(model, uneven_function, activation)
        return ir.to_proto(model)

"""Layers of 4 and 2 bits for tests: their ONNX model and their definition in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from confpress.passes.operators.functions import define_operator
from confpress.passes.operators.quantlinear import EPSILON, QMAX
from confpress.passes.operators.quantlinear_lowbit import (
    LowBitFormat,
    lowbit_function,
    lowbit_node,
    pack_codes,
    pack_scales,
)

from .quant_layers import Floats, initializer


@dataclass(frozen=True)
class LowBitLayer:
    """Codes uint8 [N, K], scales float32 [N, ceil(K / block)], bias float32 [N]."""

    codes: npt.NDArray[np.uint8]
    scales: Floats
    bias: Floats
    block: int
    form: LowBitFormat

    @classmethod
    def random(cls, n: int, k: int, block: int, form: LowBitFormat, seed: int = 0) -> LowBitLayer:
        generator = np.random.default_rng(seed)
        return cls(
            generator.integers(0, len(form.values), (n, k)).astype(np.uint8),
            generator.uniform(1e-3, 1e-2, (n, -(-k // block))).astype(np.float32),
            generator.standard_normal(n).astype(np.float32),
            block,
            form,
        )

    @property
    def weight(self) -> npt.NDArray[np.float64]:
        """[N, K]: what the codes and scales mean."""
        values = np.array(self.form.values, np.float64)[self.codes]
        return values * np.repeat(self.scales, self.block, axis=1)[:, : self.codes.shape[1]]

    def model(self, activation: str = "", *, opset: int = 17, rank: int = 2) -> onnx.ModelProto:
        """Input x [..., K] with leading dimensions that are free, output y."""
        x = ir.val("x", ir.DataType.FLOAT, [*(f"d{i}" for i in range(rank - 1)), self.shape[1]])
        weights = [
            initializer("weight", pack_codes(self.codes, self.form.bits)),
            initializer("scales", pack_scales(self.scales)),
            initializer("bias", self.bias),
        ]
        node = lowbit_node(
            x,
            *weights,
            shape=self.shape,
            block=self.block,
            form=self.form,
            activation=activation,
            name="layer",
        )
        node.outputs[0].name = "y"
        graph = ir.Graph(
            [x],
            node.outputs,
            nodes=[node],
            initializers=weights,
            opset_imports={"": opset},
            name="layer",
        )
        model = ir.Model(graph, ir_version=8)
        define_operator(model, lowbit_function, self.form.bits, activation)
        return ir.to_proto(model)

    @property
    def shape(self) -> tuple[int, int]:
        """N and K."""
        n, k = self.codes.shape
        return n, k

    def linear(self, x: Floats) -> npt.NDArray[np.float64]:
        """The output without an activation, in float64 on the quantised input."""
        largest = np.abs(x).max(axis=-1, keepdims=True)
        s = np.maximum(largest, np.float32(EPSILON)) / np.float32(QMAX)
        q = np.clip(np.rint(x / s), -QMAX, QMAX).astype(np.float64)
        return (q @ self.weight.T) * s + self.bias

"""ConvModule nodes for tests: their model, their arrays and their definition in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from confpress.passes.operators.convmodule import (
    ConvActivation,
    conv_module_function,
    conv_module_node,
)
from confpress.passes.operators.functions import define

MaskKind = Literal["none", "frames", "shared"]


@dataclass(frozen=True)
class ConvCase:
    """One problem."""

    batch: int
    frames: int
    channels: int
    taps: int
    mask: MaskKind = "none"
    activation: ConvActivation = ""
    causal: bool = False
    gate_first: bool = False

    @property
    def pads(self) -> tuple[int, int]:
        return (self.taps - 1, 0) if self.causal else (self.taps // 2, self.taps // 2)

    @property
    def columns(self) -> tuple[int, int]:
        return (self.channels, 0) if self.gate_first else (0, self.channels)

    def weights(self) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(5)
        return {
            "filters": generator.standard_normal((self.channels, 1, self.taps), np.float32),
            "bias": generator.standard_normal(self.channels, np.float32),
        }

    def model(self, opset: int = 17) -> onnx.ModelProto:
        """Inputs x, mask, output y."""
        x = ir.val("x", ir.DataType.FLOAT, ["b", "t", 2 * self.channels])
        mask = ir.val("mask", ir.DataType.BOOL, ["m", 1, "n"])
        weights = []
        for name, array in self.weights().items():
            tensor = ir.tensor(array, name=name)
            value = ir.val(name, tensor.dtype, tensor.shape)
            value.const_value = tensor
            weights.append(value)
        node = conv_module_node(
            [x, *weights, mask],
            channels=self.channels,
            columns=self.columns,
            pads=self.pads,
            activation=self.activation,
            name="conv",
        )
        node.outputs[0].name = "y"
        graph = ir.Graph(
            [x, mask],
            node.outputs,
            nodes=[node],
            initializers=weights,
            opset_imports={"": opset},
            name="conv",
        )
        model = ir.Model(graph, ir_version=8)
        define(model, conv_module_function(self.activation, opset))
        return ir.to_proto(model)

    def feeds(self) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(6)
        shape = {"none": (1, 1, 1), "shared": (1, 1, self.frames)}.get(
            self.mask, (self.batch, 1, self.frames)
        )
        return {
            "x": generator.standard_normal((self.batch, self.frames, 2 * self.channels), np.float32)
            * 3,
            "mask": generator.random(shape) < (0 if self.mask == "none" else 0.3),
        }

    def expected(self, feeds: dict[str, np.ndarray]) -> npt.NDArray[np.float64]:
        """The definition, tap by tap, in float64."""
        x = feeds["x"].astype(np.float64)
        first, gate = self.columns
        values, gates = x[..., first : first + self.channels], x[..., gate : gate + self.channels]
        gated = values / (1 + np.exp(-gates))
        gated[np.broadcast_to(feeds["mask"], (self.batch, 1, self.frames))[:, 0]] = 0
        gated = np.pad(gated, ((0, 0), self.pads, (0, 0)))
        weights = self.weights()
        frames = gated.shape[1] - self.taps + 1
        y = np.zeros((self.batch, frames, self.channels)) + weights["bias"]
        for tap in range(self.taps):
            y += weights["filters"][:, 0, tap] * gated[:, tap : tap + frames]
        return y / (1 + np.exp(-y)) if self.activation == "silu" else y

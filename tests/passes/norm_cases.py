"""AddNorm nodes for tests: their model, their arrays and their definition in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from confpress.passes.operators.addnorm import add_norm_function, add_norm_node
from confpress.passes.operators.functions import define

EPSILONS = (1e-5, 1e-3)


@dataclass(frozen=True)
class NormCase:
    """One problem: shape of stream and branch, number of norms."""

    shape: tuple[int, ...]
    norms: int = 1
    scale: float = 0.5

    def model(self, opset: int = 17) -> onnx.ModelProto:
        """Inputs stream, branch, weights and biases; outputs y0, y1."""
        axes = [f"d{i}" for i in range(len(self.shape))]
        names = ["weight", "bias", "weight2", "bias2"][: 2 * self.norms]
        inputs = [ir.val(name, ir.DataType.FLOAT, axes) for name in ("stream", "branch")]
        inputs += [ir.val(name, ir.DataType.FLOAT, axes[-1:]) for name in names]
        node = add_norm_node(inputs, scale=self.scale, epsilons=EPSILONS[: self.norms], name="norm")
        for i, output in enumerate(node.outputs):
            output.name = f"y{i}"
        graph = ir.Graph(inputs, node.outputs, nodes=[node], opset_imports={"": opset}, name="norm")
        model = ir.Model(graph, ir_version=8)
        define(model, add_norm_function(self.norms, opset))
        return ir.to_proto(model)

    def feeds(self) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(3)
        arrays = {
            "stream": generator.standard_normal(self.shape, np.float32) * 5 + 2,
            "branch": generator.standard_normal(self.shape, np.float32),
        }
        for name in ["weight", "bias", "weight2", "bias2"][: 2 * self.norms]:
            arrays[name] = generator.standard_normal(self.shape[-1:], np.float32)
        return arrays

    def expected(self, feeds: dict[str, np.ndarray]) -> list[npt.NDArray[np.float64]]:
        """The definition in float64."""
        x = {name: array.astype(np.float64) for name, array in feeds.items()}
        values = [x["stream"] + self.scale * x["branch"]]
        for i in range(self.norms):
            suffix = "" if i == 0 else "2"
            centred = values[-1] - values[-1].mean(axis=-1, keepdims=True)
            deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILONS[i])
            values.append(centred / deviation * x[f"weight{suffix}"] + x[f"bias{suffix}"])
        return values[-2:]

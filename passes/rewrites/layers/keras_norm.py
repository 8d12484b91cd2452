"""Layer normalisation as Keras writes it, as one operator.

    y = x · s + (beta - mean(x) · s),   s = gamma / sqrt(variance(x) + eps)

tf2onnx turns its means over features into GlobalAveragePool. What is where is read off the nodes
around the reciprocal root, and that they normalise is shown by evaluating them.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...fuse.region import Region
from ...linear import only_user
from ...rewrite import Patch, constant, producer, replace_value, scalar

#: Largest difference in a trial of order 1.
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class KerasNorm(InPlacePass):
    """Rewrites the nodes of ``keras.layers.LayerNormalization`` as ``LayerNormalization``.

    Lossless up to float arithmetic.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            found = _read(node) if node.op_type == "Reciprocal" and not node.domain else None
            if found is None or not found.normalises(model.graph):
                continue
            end = found.output.producer()
            assert end is not None, "an Add computes it"
            patch = Patch(end)
            normed = patch.op(
                "LayerNormalization",
                found.input,
                patch.constant(found.weight, "weight"),
                patch.constant(found.bias, "bias"),
                axis=-1,
                epsilon=found.epsilon,
            )
            replace_value(found.output, normed)
            journal.change(layer_of(end), "norm in one operator")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


@dataclasses.dataclass(frozen=True)
class _Norm:
    """A norm of the last axis.

    Attributes:
        input: What is normalised.
        output: The result.
        weight: gamma, float32 [features].
        bias: beta, likewise.
        epsilon: What is added to the variance.
    """

    input: ir.Value
    output: ir.Value
    weight: np.ndarray
    bias: np.ndarray
    epsilon: float

    def normalises(self, graph: ir.Graph) -> bool:
        """Whether the graph computes this norm, on random frames."""
        shape = self.input.shape
        if shape is None or len(shape) != 3 or self.weight.shape != self.bias.shape:
            return False
        x = np.random.default_rng(0).standard_normal((2, 3, self.weight.size)).astype(np.float32)
        found = Region(graph, [self.input], self.output).attempt({self.input: x})
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + self.epsilon)
        wanted = centred / deviation * self.weight + self.bias
        if found is None or found.shape != wanted.shape:
            return False
        return bool(np.abs(found - wanted).max() <= _TOLERANCE)


def _read(reciprocal: ir.Node) -> _Norm | None:
    """The norm around a reciprocal root, if it looks like one."""
    root = producer(reciprocal.inputs[0], "Sqrt")
    sum_ = producer(root.inputs[0], "Add") if root is not None else None
    epsilon = next((n for v in sum_.inputs if (n := scalar(v)) is not None), None) if sum_ else None
    scaled = only_user(reciprocal.outputs[0])
    weight = _vector_of(scaled, "Mul")
    if epsilon is None or scaled is None or weight is None:
        return None
    for product in scaled.outputs[0].consumers():
        end = only_user(product.outputs[0])
        if product.op_type != "Mul" or end is None or end.op_type != "Add":
            continue
        x = next((v for v in product.inputs if v is not scaled.outputs[0]), None)
        rest = next((v for v in end.inputs if v is not product.outputs[0]), None)
        bias = _vector_of(producer(rest, "Add"), "Add")
        if x is not None and bias is not None:
            return _Norm(x, end.outputs[0], weight, bias, float(np.float32(epsilon)))
    return None


def _vector_of(node: ir.Node | None, op_type: str) -> np.ndarray | None:
    """The constant of one number for each feature that a node takes."""
    if node is None or node.op_type != op_type:
        return None
    for value in node.inputs:
        array = constant(value)
        if array is not None and array.size > 1 and array.size == array.shape[-1]:
            return array.reshape(-1)
    return None

"""Scales and shifts of every feature folded into the linear layers behind them.

Squeezeformer puts one of each before every module (Kim et al., NeurIPS 2022). They say nothing that
the layers cannot: ``(x · s + b) W = x (diag(s) W) + b W``.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...linear import MatMulLayer, matmul_layers
from ...rewrite import SHAPE_READERS, Patch, constant, replace_value, scale_input
from ...structure.norms import find_norms


@dataclasses.dataclass(frozen=True)
class FoldAffine(InPlacePass):
    """Removes Mul and Add of a stored vector where linear layers alone read the result.

    Lossless up to rounding. Biases of layers stay, which cost nothing, and so do the weights of
    norms, without which ONNX Runtime would not know those that are spelled out.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        layers = {layer.node: layer for layer in matmul_layers(model.graph)}
        of_norms = {node for norm in find_norms(model.graph) for node in norm.nodes}
        # From the end: the layers behind a shift are behind its scale once the shift is gone.
        for node in reversed(list(model.graph)):
            found = _vector(node)
            if found is None or node in of_norms:
                continue
            value, vector = found
            readers = [
                user for user, _ in node.outputs[0].uses() if user.op_type not in SHAPE_READERS
            ]
            behind = [layers[user] for user in readers if user in layers]
            word = "scale" if node.op_type == "Mul" else "shift"
            is_bias = word == "shift" and value.producer() in layers
            if not behind or is_bias:
                continue
            reason = _why_not(node.outputs[0], behind, readers)
            if reason:
                journal.refuse(layer_of(node), f"its {word} of every feature stays: {reason}")
                continue
            for layer in behind:
                layers[layer.node] = (
                    _scaled(layer, vector) if word == "scale" else _shifted(layer, vector)
                )
            replace_value(node.outputs[0], value)
            model.graph.remove(node, safe=True)
            journal.change(layer_of(node), f"{word} of every feature folded into what reads it")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _vector(node: ir.Node) -> tuple[ir.Value, npt.NDArray[np.float32]] | None:
    """What a node scales or shifts, and by which stored number each feature; None for others."""
    if node.domain or node.op_type not in ("Mul", "Add"):
        return None
    for value, other in (node.inputs, reversed(node.inputs)):
        vector = constant(other)
        if value is None or vector is None or constant(value) is not None:
            continue
        # More axes than the value has would be added to it.
        if value.shape is None or vector.ndim > len(value.shape) or vector.dtype != np.float32:
            return None
        is_vector = vector.ndim and vector.size > 1 and vector.shape[-1] == vector.size
        fits = value.shape[-1] == vector.size and np.isfinite(vector).all()
        return (value, vector.reshape(-1)) if is_vector and fits else None
    return None


def _why_not(value: ir.Value, behind: list[MatMulLayer], readers: list[ir.Node]) -> str:
    """Why layers cannot take what is done to the value that they read; "" if they can."""
    if value.is_graph_output():
        return f"{value.name} is an output of the model"
    taking = {layer.node for layer in behind}
    other = next((reader for reader in readers if reader not in taking), None)
    if other is not None:
        return f"{value.name} is used by {other.op_type} too"
    for layer in behind:
        weight = constant(layer.weight)
        if weight is None or weight.dtype != np.float32:
            return f"the weight of {layer.id or layer.node.name} is not float32"
        if any(user is not layer.node for user, _ in layer.weight.uses()):
            return f"the weight of {layer.id or layer.node.name} is used twice"
    return ""


def _scaled(layer: MatMulLayer, scale: npt.NDArray[np.float32]) -> MatMulLayer:
    return dataclasses.replace(layer, weight=scale_input(layer.node, 1, scale[:, None]))


def _shifted(layer: MatMulLayer, shift: npt.NDArray[np.float32]) -> MatMulLayer:
    weight, bias = constant(layer.weight), constant(layer.bias)
    assert weight is not None, "it was asked for"
    added = shift.astype(np.float64) @ weight + (0 if bias is None else bias)
    patch = Patch(layer.node, layer.node.name, behind=True)
    stored = patch.constant(added.astype(np.float32), "shift")
    if layer.add is not None:
        layer.add.replace_input_with(list(layer.add.inputs).index(layer.bias), stored)
        return dataclasses.replace(layer, bias=stored)
    product = layer.node.outputs[0]
    add = patch.node("Add", (product, stored))
    replace_value(product, add.outputs[0])
    add.replace_input_with(0, product)
    return dataclasses.replace(layer, add=add, bias=stored)

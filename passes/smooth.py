"""Smoothing: outlier channels moved from activations, which share a scale, into weights.

A frame is quantised with one scale, so its loudest channel costs all others precision, while a
weight's scale is its output channel's own. For ``Y = LayerNorm(X) W`` a channel can be divided by s
in the norm's scale and shift and multiplied by s in its row of W: nothing changes in float, and
with ``s = max|x|^a / max|w|^(1-a)`` both sides are equally hard (SmoothQuant, Xiao et al. 2023,
section 4). A LayerNorm's output has the size that its own parameters say, so no data is needed:
``max|x| ≈ 4 |scale| + |shift|``, four standard deviations of a normalised value.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from .base import InPlacePass, Journal, PassResult, layer_of
from .linear import MatMulLayer, matmul_layers
from .rewrite import SHAPE_READERS, Patch, constant

Floats = npt.NDArray[np.float32]

#: Standard deviations that a normalised value rarely exceeds.
_DEVIATIONS = 4.0
#: Factors are kept within this of each other, so that no float is pushed out of its range.
_LARGEST_RATIO = 1e4


@dataclasses.dataclass(frozen=True)
class Smooth(InPlacePass):
    """Balances LayerNormalization against the linear layers that read it.

    Lossless up to float rounding. A norm that anything but linear layers reads (a residual
    stream, for one) is refused.

    Attributes:
        strength: a above: 0 leaves activations as they are, 1 moves all their difficulty.
    """

    strength: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength is between 0 and 1, not {self.strength}")

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        readers: dict[ir.Node, list[MatMulLayer]] = {}
        for layer in matmul_layers(model.graph):
            norm = layer.input.producer()
            if norm is not None and norm.op_type == "LayerNormalization" and not norm.domain:
                readers.setdefault(norm, []).append(layer)
        for norm, layers in readers.items():
            reason = _why_not(norm, layers)
            if reason:
                journal.refuse(layer_of(layers[0].node), reason)
            elif self.strength > 0:
                _balance(norm, layers, self.strength)
                journal.change(
                    layer_of(layers[0].node), "channels balanced between the norm and the weights"
                )
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def channel_factors(activations: Floats, weights: Floats, strength: float) -> Floats:
    """The factor s of every channel.

    Args:
        activations: Expected largest magnitude of every channel, float32 [channels].
        weights: Largest magnitude of every channel's row of W, float32 [channels].
        strength: Between 0 and 1.

    Returns:
        float32 [channels], with a geometric mean of 1 over channels that are in use; 1 for a
        channel that is zero on either side.
    """
    used = (activations > 0) & (weights > 0)
    factors = np.ones_like(activations)
    if not used.any():
        return factors
    logs = strength * np.log(activations[used]) - (1 - strength) * np.log(weights[used])
    logs = np.clip(logs - logs.mean(), -np.log(_LARGEST_RATIO) / 2, np.log(_LARGEST_RATIO) / 2)
    factors[used] = np.exp(logs)
    return factors


def _why_not(norm: ir.Node, layers: list[MatMulLayer]) -> str | None:
    parameters = [constant(value) for value in norm.inputs[1:]]
    weights = [constant(layer.weight) for layer in layers]
    if any(each is None for each in parameters):
        return "the scale or shift of its norm is computed, not stored"
    if any(each is None for each in weights):
        return "one of the layers behind the norm is quantised already"
    stored = [each for each in (*parameters, *weights) if each is not None]
    if any(each.dtype != np.float32 for each in stored):
        return "its norm or a layer behind it is not stored in float32"
    if any(each.shape != stored[-1].shape[:1] for each in stored[: len(parameters)]):
        return "the scale or shift of its norm is not one number for each channel"
    others = set(norm.outputs[0].consumers()) - {layer.node for layer in layers}
    if norm.outputs[0].is_graph_output() or any(
        node.op_type not in SHAPE_READERS for node in others
    ):
        return "its norm is read by more than linear layers"
    return None


def _balance(norm: ir.Node, layers: list[MatMulLayer], strength: float) -> None:
    scale, shift = (
        constant(norm.inputs[1]),
        constant(norm.inputs[2]) if len(norm.inputs) > 2 else None,
    )
    weights = [weight for layer in layers if (weight := constant(layer.weight)) is not None]
    assert scale is not None
    expected = _DEVIATIONS * np.abs(scale) + (0 if shift is None else np.abs(shift))
    rows = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    factors = channel_factors(expected.astype(np.float32), rows, strength)
    patch = Patch(norm)
    norm.replace_input_with(1, patch.constant(scale / factors, "scale"))
    if shift is not None:
        norm.replace_input_with(2, patch.constant(shift / factors, "shift"))
    for layer, weight in zip(layers, weights, strict=True):
        balanced = Patch(layer.node).constant(weight * factors[:, None], "balanced")
        layer.node.replace_input_with(1, balanced)

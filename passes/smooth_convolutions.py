"""Smoothing between convolutions: channels balanced between one's filters and the next one's.

An int8 convolution has a scale for each output channel, which its largest weight sets: input
channels that are quiet but have large weights cost those that are loud their precision. A channel c
of a convolution that only another one reads, perhaps through a Relu and a mask, can be divided by
s_c in the filters and the bias before and multiplied by s_c in the weights behind: nothing changes
in float (cross-layer equalisation, Nagel et al. 2019, section 4.1). Rounding a weight errs by a
step of its output channel's scale, times what the channel's input amounts to. Were the scale the
root of the mean square of all weights, ``s = sqrt(g / w)`` would be best, g and w the channel's
size in the input and in the weights. It follows the largest weight instead, so by default only half
of that way is gone.

No data is needed: g is the size of the filters on an input of mean square 1 whose neighbours, in
time as in frequency, are alike by one half; a bias adds to it where it is positive.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from .base import InPlacePass, Journal, PassResult, layer_of
from .linear import only_reader
from .rewrite import Patch, constant
from .rewrites.masks.frame_mask import masked_value
from .smooth import channel_factors

Floats = npt.NDArray[np.float32]

#: Correlation of neighbours in features of speech, one place apart.
_ALIKE = 0.5


@dataclasses.dataclass(frozen=True)
class SmoothConvolutions(InPlacePass):
    """Balances two-dimensional convolutions against those that read them.

    Lossless up to float rounding.

    Attributes:
        strength: 0 leaves all as it is, 1 goes the whole way to ``sqrt(g / w)``.
    """

    strength: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength is between 0 and 1, not {self.strength}")

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            filters, reader = _filters(node), _reader(node)
            weights = _filters(reader) if reader is not None else None
            if self.strength == 0 or reader is None or filters is None or weights is None:
                continue
            # A depthwise convolution has a scale of each channel's own.
            if weights.shape[1] != len(filters) or len(filters) == 1:
                continue
            if len(node.inputs) > 2 and constant(node.inputs[2]) is None:
                journal.refuse(layer_of(node), "its bias is computed, not stored")
                continue
            _balance(node, filters, reader, weights, self.strength)
            journal.change(layer_of(node), f"channels balanced with those of {layer_of(reader)}")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _filters(node: ir.Node) -> Floats | None:
    """The stored weights of a convolution over two axes, float32 [N, C of a group, T, F]."""
    if node.op_type != "Conv" or node.domain:
        return None
    weights = constant(node.inputs[1])
    if weights is None or weights.ndim != 4 or weights.dtype != np.float32:
        return None
    return weights


def _reader(node: ir.Node) -> ir.Node | None:
    """What alone reads a result, seen through a Relu and masks: none of them minds a factor."""
    user = only_reader(node.outputs[0])
    while user is not None and (
        (user.op_type == "Relu" and not user.domain) or masked_value(user) is not None
    ):
        user = only_reader(user.outputs[0])
    return user


def _balance(
    conv: ir.Node, filters: Floats, reader: ir.Node, weights: Floats, strength: float
) -> None:
    bias = constant(conv.inputs[2]) if len(conv.inputs) > 2 else None
    sizes = np.sqrt((weights.astype(np.float64) ** 2).mean(axis=(0, 2, 3)))
    factors = channel_factors(
        _expected(filters, bias).astype(np.float32), sizes.astype(np.float32), 0.5
    )
    factors = factors**strength
    patch = Patch(conv)
    conv.replace_input_with(1, patch.constant(filters / factors[:, None, None, None], "balanced"))
    if bias is not None:
        conv.replace_input_with(2, patch.constant(bias / factors, "balanced_bias"))
    balanced = Patch(reader).constant(weights * factors[:, None, None], "balanced")
    reader.replace_input_with(1, balanced)


def _expected(filters: Floats, bias: Floats | None) -> npt.NDArray[np.float64]:
    """The root mean square that each output channel is expected to have, [N]."""
    taps = np.indices(filters.shape[2:]).reshape(2, -1).T
    apart = np.abs(taps[:, None] - taps[None]).sum(axis=-1)
    of_taps = filters.reshape(*filters.shape[:2], -1).astype(np.float64)
    powers = np.einsum("nci,ij,ncj->n", of_taps, _ALIKE**apart, of_taps)
    constant_part = 0.0 if bias is None else np.maximum(bias, 0.0) ** 2
    return np.asarray(np.sqrt(powers + constant_part))

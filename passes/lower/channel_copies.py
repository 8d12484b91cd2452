"""Integer convolutions of few channels that read each of them several times.

ONNX Runtime's direct integer convolution takes four codes of a place at once, and is taken where
the input channels are a multiple of four and there are enough output channels
(``MlasConvSymPackWSize`` in its convsym.cpp, for x86-64); others copy every window first. The first
convolution of a subsampling reads one channel. Of four copies of it three meet weights of zero, so
the sums are the same integers.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import InPlacePass, Journal, PassResult, layer_of
from ..quantize import dequantized
from ..rewrite import Patch, producer
from .stored import StoredWeight, conv2d_weight_of

#: Codes of a place that the direct convolution takes at once.
_TOGETHER = 4
#: Output channels of which AVX2, the oldest instruction set with a direct convolution, wants whole
#: groups, and how many at least.
_GROUP = 8
_LEAST = 16


@dataclasses.dataclass(frozen=True)
class ChannelCopies(InPlacePass):
    """A convolution in QDQ form whose input channels are no multiple of four reads copies of them.

    Exact: what is added is zero times a code.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            weight = conv2d_weight_of(node)
            decode = producer(node.inputs[0], "DequantizeLinear")
            if weight is None or decode is None:
                continue
            outputs, channels = weight.codes.shape[:2]
            copies = _TOGETHER // math.gcd(channels, _TOGETHER)
            if copies == 1:
                continue
            if outputs < _LEAST or outputs % _GROUP:
                journal.refuse(
                    layer_of(node),
                    f"its {outputs} output channels are not the groups of {_GROUP}, {_LEAST} or "
                    "more, that ONNX Runtime convolves directly",
                )
                continue
            _copy_channels(node, decode, weight, copies)
            journal.change(layer_of(node), f"reads its {channels} input channels {copies} times")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _copy_channels(conv: ir.Node, decode: ir.Node, weight: StoredWeight, copies: int) -> None:
    patch = Patch(conv)
    codes = patch.op("Concat", *[decode.inputs[0]] * copies, axis=1)
    conv.replace_input_with(0, patch.op("DequantizeLinear", codes, *decode.inputs[1:]))
    zeros = np.zeros_like(weight.codes)
    widened = np.concatenate([weight.codes, *[zeros] * (copies - 1)], axis=1)
    conv.replace_input_with(1, dequantized(patch, widened, weight.scales, axis=0))

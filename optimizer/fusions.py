"""What a target's lowering may leave out without another meaning: each is one pass, by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import onnx_ir as ir

from ..passes.fuse.attention import FuseAttention
from ..passes.fuse.convolution import FuseConvModule
from ..passes.fuse.norms import FuseAddNorm
from ..passes.fuse.subsampling import FuseSubsampling
from ..passes.fuse.swoosh import FuseSwoosh
from ..passes.lower.channel_copies import ChannelCopies
from ..passes.lower.decoded_convolutions import DecodeConvolutions
from ..passes.lower.masked_codes import MaskCodes
from ..passes.operators.sparselinear import WINDOW
from ..passes.rewrites.attention.query_blocks import QueryBlocks
from ..passes.rewrites.convolution.depthwise import DepthwiseConv2d
from ..passes.rewrites.layers.norm_sums import NormSums
from ..passes.rewrites.masks.mask_channel import MaskChannel
from ..passes.rewrites.masks.zero_masks import ZeroMasks
from .recipe.recipe import Fusion, Target

#: In the order in which they run. Those of `portable` were all found by timing ONNX Runtime's CPU
#: provider, and those of `cpu` are operators for processors, so `cuda` has none.
FUSIONS: Mapping[Target, Mapping[Fusion, ir.passes.PassBase]] = {
    "portable": {
        "masked_codes": MaskCodes(),
        "decoded_convolutions": DecodeConvolutions(),
        "channel_copies": ChannelCopies(),
        "depthwise": DepthwiseConv2d(),
        "zero_masks": ZeroMasks(),
        "mask_channel": MaskChannel(),
        "norm_sums": NormSums(),
        "query_blocks": QueryBlocks(),
    },
    "cpu": {
        "subsampling": FuseSubsampling(),
        "attention": FuseAttention(),
        "convolution": FuseConvModule(),
        "norms": FuseAddNorm(),
        "swoosh": FuseSwoosh(),
        "masked_codes": MaskCodes(),
        "decoded_convolutions": DecodeConvolutions(),
        "channel_copies": ChannelCopies(),
        "depthwise": DepthwiseConv2d(),
        "zero_masks": ZeroMasks(),
        "mask_channel": MaskChannel(),
    },
    "cuda": {},
}


def fusions(
    target: Target, without: Collection[str] = (), reach: int = WINDOW
) -> list[ir.passes.PassBase]:
    """The fusions of a target but those left out.

    Args:
        target: Whose.
        without: Names of those left out.
        reach: Bytes that a table look-up reaches where the model will run.
    """
    return [
        dataclasses.replace(fusion, reach=reach) if isinstance(fusion, FuseSubsampling) else fusion
        for name, fusion in FUSIONS[target].items()
        if name not in without
    ]

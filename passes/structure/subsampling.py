"""What turns features into the encoder's frames: convolutions with strides, then a projection."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from .graph import dims
from .modules import Convolution, Linear, Subsampling

_POOLS = frozenset(("MaxPool", "AveragePool"))


def recognise_subsampling(
    nodes: Sequence[ir.Node], linears: Sequence[Linear], convolutions: Sequence[Convolution]
) -> Subsampling:
    """The details of what lies between the features and the first module.

    Args:
        nodes: The nodes between.
        linears: The linear layers among them, in the order of data.
        convolutions: The convolutions among them.
    """
    steps = [_time_stride(c.node, c.strides) for c in convolutions]
    for node in nodes:
        if node.op_type in _POOLS:
            kernel = node.attributes.get_ints("kernel_shape", [1])
            strides = node.attributes.get_ints("strides", [1] * len(kernel))
            steps.append(_time_stride(node, tuple(strides)))
    known = [step for step in steps if step is not None]
    return Subsampling(
        factor=math.prod(known) if len(known) == len(steps) else None,
        out=linears[-1] if linears else None,
    )


def _time_stride(node: ir.Node, strides: tuple[int, ...]) -> int | None:
    """The stride on the time axis, which is the one of varying size; equal strides tell it too."""
    if len(set(strides)) == 1:
        return strides[0]
    spatial = (dims(node.inputs[0]) or ())[2:]
    varying = [stride for stride, size in zip(strides, spatial, strict=False) if size is None]
    return varying[0] if len(varying) == 1 else None

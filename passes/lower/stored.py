"""Weights that are stored as codes: what their DequantizeLinear says, and what it comes to."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..formats.number import Codes, Floats
from ..rewrite import constant, producer


@dataclasses.dataclass(frozen=True)
class StoredWeight:
    """A constant in codes.

    Attributes:
        dtype: The ONNX type of the codes.
        codes: Any shape.
        scales: float32, one number, [channels] or [..., groups, ...].
        points: Zero points of the scales' shape, or None.
        axis: What scales run along.
        block: Elements of a group along the axis; 0 for one scale a channel.
    """

    dtype: ir.DataType
    codes: Codes
    scales: Floats
    points: Codes | None
    axis: int
    block: int

    def groups(self) -> npt.NDArray[np.int32] | None:
        """For each position on the axis, the group that it belongs to; None without blocks."""
        if not self.block:
            return None
        return np.arange(self.codes.shape[self.axis], dtype=np.int32) // np.int32(self.block)

    def spread(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Scales or zero points in a shape that broadcasts against the codes."""
        groups = self.groups()
        if groups is not None:
            return np.take(array, groups, axis=self.axis)
        if array.size == 1:
            return array.reshape(())
        shape = [1] * self.codes.ndim
        shape[self.axis] = -1
        return array.reshape(shape)

    def decoded(self) -> Floats:
        """What the codes mean, float32."""
        values = self.codes.astype(np.float32)
        if self.points is not None:
            values = values - self.spread(self.points.astype(np.float32))
        result: Floats = (values * self.spread(self.scales)).astype(np.float32)
        return result


def stored_weight_of(node: ir.Node) -> StoredWeight | None:
    """What a DequantizeLinear of constants says; None for every other node."""
    if node.op_type != "DequantizeLinear" or node.domain:
        return None
    codes = constant(node.inputs[0])
    scales = constant_scale(node.inputs[1])
    pointed = len(node.inputs) > 2 and node.inputs[2] is not None
    points = constant(node.inputs[2]) if pointed else None
    if codes is None or scales is None or (pointed and points is None):
        return None
    tensor = ir.convenience.get_const_tensor(node.inputs[0])  # type: ignore[arg-type]
    assert tensor is not None, "it has an array"
    axis = node.attributes.get_int("axis", 1)
    return StoredWeight(
        tensor.dtype,
        codes,
        scales,
        points,
        axis % max(codes.ndim, 1),
        node.attributes.get_int("block_size", 0),
    )


def conv2d_weight_of(node: ir.Node) -> StoredWeight | None:
    """The symmetric int8 weight, [N, C, kernel T, kernel F], of a convolution of all channels.

    None for every other node.
    """
    if node.op_type != "Conv" or node.domain or node.attributes.get_int("group", 1) != 1:
        return None
    decode = producer(node.inputs[1], "DequantizeLinear")
    weight = None if decode is None else stored_weight_of(decode)
    if weight is None or weight.dtype is not ir.DataType.INT8 or weight.codes.ndim != 4:
        return None
    return weight if weight.axis == 0 and weight.points is None and not weight.block else None


def constant_scale(value: ir.Value | None) -> Floats | None:
    """Constant scales of float32 weights, also where they are stored in a narrower type and cast.

    None for scales of another type: what they decode is of that type too.
    """
    cast = producer(value, "Cast")
    if cast is not None and cast.attributes.get_int("to", 0) == ir.DataType.FLOAT:
        array = constant(cast.inputs[0])
        return None if array is None else array.astype(np.float32)
    array = constant(value)
    return array if array is not None and array.dtype == np.float32 else None

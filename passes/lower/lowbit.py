"""What DequantizeLinear nodes of 4 and 2 bits say about the weights of linear layers.

The interchange model states them as ONNX does: codes [K, N] of INT4, UINT4, FLOAT4E2M1 or INT2, and
scales (float32, or narrower and cast to it) either per block of rows ([ceil(K / B), N], axis 0,
``block_size`` B) or per column ([N], axis 1); a zero point, where there is one, is the same number
everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..base import Journal
from ..linear import MatMulLayer, matmul_layers
from ..operators.quantlinear_lowbit import BLOCKS, FP4, INT2, INT4, UINT4, LowBitFormat
from ..rewrite import constant
from .qdq import bias_of, dynamic_source
from .stored import constant_scale

#: What ONNX's types of 4 and 2 bits are to the kernels.
FORMATS: Final = {
    ir.DataType.INT4: INT4,
    ir.DataType.UINT4: UINT4,
    ir.DataType.FLOAT4E2M1: FP4,
    ir.DataType.INT2: INT2,
}


@dataclasses.dataclass(frozen=True)
class LowBitLinear:
    """A linear layer of 4 or 2 bit weights whose frames are int8 dynamic.

    Attributes:
        layer: The MatMul and its bias.
        input: The float value before its quantisation, [..., K].
        codes: uint8 [N, K].
        scales: float32 [N, ceil(K / block)]; a weight is ``form.values[code] · scale``.
        block: One of the kernels' block sizes.
        form: What the codes mean.
        bias: float32 [N]; zeros where the layer has none.
    """

    layer: MatMulLayer
    input: ir.Value
    codes: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float32]
    block: int
    form: LowBitFormat
    bias: npt.NDArray[np.float32]


def lowbit_linears(model: ir.Model, journal: Journal) -> Iterator[LowBitLinear]:
    """The layers with weights of 4 and 2 bits that the kernels compute; others are refused.

    Each is looked up when it is asked for, so the graph may be rewritten between two of them.
    """
    for layer in matmul_layers(model.graph):
        dequantize = layer.weight.producer()
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            continue
        stored = dequantize.inputs[0]
        tensor = None if stored is None else ir.convenience.get_const_tensor(stored)
        if tensor is None or tensor.dtype not in FORMATS:
            continue
        try:
            linear = _read(layer, dequantize, tensor)
        except _UnsupportedError as reason:
            journal.refuse(layer.id, str(reason))
        else:
            yield linear


class _UnsupportedError(Exception):
    """Why a layer's weights are not what the kernels compute with."""


def _read(layer: MatMulLayer, dequantize: ir.Node, tensor: ir.TensorProtocol) -> LowBitLinear:
    source = dynamic_source(layer.input)
    if source is None:
        raise _UnsupportedError("its activations are not quantised per frame (dynamic int8)")
    form = _with_zero_point(FORMATS[tensor.dtype], dequantize)
    # The arrays of these types hold one code in the low bits of a byte.
    mask = np.uint8(len(form.values) - 1)
    codes = np.ascontiguousarray((tensor.numpy().view(np.uint8) & mask).T)
    block, scales = _scales(dequantize, *codes.shape)
    scales = (scales * np.float32(form.unit)).astype(np.float32)
    if not np.isfinite(scales).all():
        raise _UnsupportedError("its scales hold infinities or NaN")
    return LowBitLinear(layer, source, codes, scales, block, form, bias_of(layer, codes.shape[0]))


def _with_zero_point(form: LowBitFormat, dequantize: ir.Node) -> LowBitFormat:
    if len(dequantize.inputs) < 3 or dequantize.inputs[2] is None:
        return form
    points = constant(dequantize.inputs[2])
    if points is None:
        raise _UnsupportedError("its zero points are not constant")
    values = np.unique(points.astype(np.float32))
    if values.size != 1:
        raise _UnsupportedError(
            "its zero points differ from block to block; symmetric weights have one"
        )
    point = int(values[0])
    return dataclasses.replace(form, values=tuple(value - point for value in form.values))


def _scales(dequantize: ir.Node, n: int, k: int) -> tuple[int, npt.NDArray[np.float32]]:
    """The kernels' block size and scales [N, ceil(K / block)]."""
    scales = constant_scale(dequantize.inputs[1])
    if scales is None:
        raise _UnsupportedError("its scales are no constants of float32")
    axis = dequantize.attributes.get_int("axis", 1) % 2
    size = dequantize.attributes.get_int("block_size", 0)
    if size == 0 and scales.size == 1:
        scales, size = np.full((1, n), scales.reshape(-1)[0]), k
    elif size == 0 and axis == 1 and scales.shape == (n,):
        scales, size = scales[None], k
    elif not (size > 0 and axis == 0 and scales.shape == (-(-k // size), n)):
        raise _UnsupportedError("its scales are neither per output channel nor per block of inputs")
    if size >= k:
        # One block: padding may belong to it.
        size = -(-k // BLOCKS[-1]) * BLOCKS[-1]
    fitting = [block for block in BLOCKS if size % block == 0]
    if not fitting:
        raise _UnsupportedError(
            f"its blocks have {size} columns; the kernels take multiples of {BLOCKS[0]}"
        )
    block = fitting[-1]
    repeated = np.repeat(scales.T, size // block, axis=1)
    return block, repeated[:, : -(-k // block)]

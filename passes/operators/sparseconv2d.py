"""The operators SparseConv2d: QuantConv2d with sparse weights, the same number in every block.

What one tap over time reads at a place is one piece of memory, kernel F columns of C channels each;
a tap's weights are so a matrix [N, kernel F · C], and sparse as :mod:`.sparselinear` has it: in
every block of 64 neighbours of a piece each output channel has at most ``kept`` = 4, 8, 16 or 32
non-zeros. Codes, scales and activations are those of :mod:`.quantconv2d`; as there, the body below
is the meaning.

======== ========= ================================= ===========================================
input    type      shape                             meaning
======== ========= ================================= ===========================================
codes    uint8     [B, T, F, C]                      time rows, frequency columns, channels
scales   float32   [B, T]                            of the rows; 0 where a row counts as zeros
zeros    uint8     [B, T]                            the code that stands for zero
W        int8      [kernel T, ceil(N / 16), blocks,  weights of each tap over time, packed as
                   kept / 4, 16, 4]                  those of a SparseLinear
columns  uint8     as W                              a weight's place in its block, 0..63: that of
                                                     tap f and channel c is f · C + c
W_scales float32   [N, kernel T]                     an initializer
bias     float32   [N]                               an initializer; zeros where there is none
======== ========= ================================= ===========================================

Attributes ``shape`` [N, C, kernel T, kernel F], ``strides`` [T, F] and ``pads`` [T front, F front,
T back, F back], each less than the kernel; Y is float32 [B, T', F', N]. The activation is part of
the operator's name (SparseConv2d, SparseConv2dReLU, SparseConv2dSiLU).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .depthwiseconv2d import CONV_ACTIVATED, ConvActivation, window_attributes
from .functions import function_of
from .quantconv2d import CONVOLVE
from .quantlinear import DOMAIN, STRIP
from .sparselinear import BLOCK, Pattern, pack_sparse

_Number = TypeVar("_Number", bound=np.generic)

#: Names of the operator by the activation that it computes too.
OPERATOR_OF: Final[dict[ConvActivation, str]] = {
    activation: f"SparseConv2d{suffix}" for activation, (suffix, _) in CONV_ACTIVATED.items()
}

_BODY: Final = f"""
<domain: "{{domain}}", opset_import: ["": {{opset}}]>
{{op_type}} <shape, strides, pads>
    (codes, scales, zeros, W, columns, W_scales, bias) => (Y)
{{{{
  w_rows_first = Transpose <perm = [0, 1, 4, 2, 3, 5]> (W)
  w_flat = Flatten <axis = 4> (w_rows_first)
  updates = Cast <to = 1> (w_flat)
  column_rows_first = Transpose <perm = [0, 1, 4, 2, 3, 5]> (columns)
  column_flat = Flatten <axis = 4> (column_rows_first)
  indices = Cast <to = 7> (column_flat)
  row_blocks = Shape <end = 1> (indices)
  width = Constant <value_ints = [{BLOCK}]> ()
  dense_shape = Concat <axis = 0> (row_blocks, width)
  nothing = ConstantOfShape (dense_shape)
  dense = ScatterElements <axis = 1> (nothing, indices, updates)
  taps = Shape <end = 1> (W)
  strips = Shape <start = 1, end = 2> (W)
  strip_rows = Constant <value_ints = [{STRIP}]> ()
  rows_of_tap = Mul (strips, strip_rows)
  rest = Constant <value_ints = [-1]> ()
  padded_shape = Concat <axis = 0> (taps, rows_of_tap, rest)
  padded = Reshape (dense, padded_shape)
  sizes = Constant <value_ints: ints = @shape> ()
  of_n = Constant <value_ints = [0]> ()
  of_piece = Constant <value_ints = [3, 1]> ()
  n = Gather (sizes, of_n)
  piece = Gather (sizes, of_piece)
  length = ReduceProd <keepdims = 1> (piece)
  first = Constant <value_ints = [0, 0]> ()
  last = Concat <axis = 0> (n, length)
  cut_axes = Constant <value_ints = [1, 2]> ()
  cut = Slice (padded, first, last, cut_axes)
  split_shape = Concat <axis = 0> (taps, n, piece)
  split = Reshape (cut, split_shape)
  weights = Transpose <perm = [1, 3, 0, 2]> (split)
{CONVOLVE}}}}}
"""


def sparse_conv2d_function(activation: ConvActivation = "", *, opset: int = 17) -> ir.Function:
    """The function that defines the operator; it goes into every model that uses it.

    Args:
        activation: "", "relu" or "silu".
        opset: The model's version of the standard domain, at least 15.

    Raises:
        ConfpressError: The opset is too old.
    """
    name, activated = OPERATOR_OF[activation], CONV_ACTIVATED[activation][1]
    text = _BODY.format(domain=DOMAIN, opset=opset, op_type=name, activation=activated)
    return function_of(text, name, opset)


def sparse_conv2d_node(
    inputs: Sequence[ir.Value],
    *,
    shape: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    activation: ConvActivation = "",
    name: str | None = None,
) -> ir.Node:
    """A node of the operator; the model also needs the function.

    Args:
        inputs: codes, scales, zeros, W, columns, W_scales, bias.
        shape: Of the weights, [N, C, kernel T, kernel F].
        strides: Over time and columns.
        pads: Rows and columns of zeros in front, then behind.
        activation: "", "relu" or "silu".
        name: The node's name.
    """
    attributes = [ir.AttrInt64s("shape", list(shape)), *window_attributes(strides, pads)]
    node = ir.Node(DOMAIN, OPERATOR_OF[activation], list(inputs), attributes, name=name)
    node.outputs[0].dtype = ir.DataType.FLOAT
    return node


def pieces(weight: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """The weight [N, C, kernel T, kernel F] as rows that meet pieces.

    Returns:
        [kernel T · N, kernel F · C].
    """
    n, channels, time, columns = weight.shape
    return weight.transpose(2, 0, 3, 1).reshape(time * n, columns * channels)


def from_pieces(rows: npt.NDArray[_Number], shape: Sequence[int]) -> npt.NDArray[_Number]:
    """The weight of that shape; the inverse of :func:`pieces`."""
    n, channels, time, columns = shape
    return rows.reshape(time, n, columns, channels).transpose(1, 3, 0, 2)


def pack_sparse_conv2d(
    weight: npt.NDArray[np.int8], pattern: Pattern
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.uint8]]:
    """Packs a weight of shape [N, C, kernel T, kernel F] into the operator's layout.

    Args:
        weight: int8 codes.
        pattern: What its :func:`pieces` fit.

    Returns:
        W and columns, both of shape [kernel T, ceil(N / 16), blocks, kept / 4, 16, 4].

    Raises:
        ConfpressError: The weight is not int8 or does not fit the pattern.
    """
    rows = pieces(weight).reshape(weight.shape[2], len(weight), -1)
    packed, columns = zip(*(pack_sparse(each, pattern) for each in rows), strict=True)
    return np.stack(packed), np.stack(columns)

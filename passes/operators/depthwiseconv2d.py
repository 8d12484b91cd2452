"""The operators DepthwiseConv2d: convolutions of few products, filters in float32, channels last.

Every output channel reads one input channel: all of them the only one (the first convolution of a
subsampling) or each its own (a depthwise-separable one). Such a convolution moves more bytes than
it multiplies, so its filters stay float32 and its rows are made smaller: the result may leave as
uint8 codes, for :mod:`quantconv2d` or for another one that reads codes, with a scale and a zero
point for each time row (b, t), all columns and channels together:

    range = max(max(row, 0) - min(row, 0), 2⁻⁴⁰)        scale = range / 255
    zero  = round(-min(row, 0) · (255 / range))         code  = round(x · (255 / range)) + zero

Rows behind a ReLU have zero 0 and use all eight bits. A row that holds an infinity or NaN has the
scale NaN. The operators are model-local functions: the bodies below are their meaning.

======== ========= ============================ ================================================
input    type      shape                        meaning
======== ========= ============================ ================================================
X        float32   [B, T, F, group]             time rows, frequency columns, channels
W        float32   [C, 1, kernel T, kernel F]   filters, an initializer
bias     float32   [C]                          an initializer; zeros where there is none
======== ========= ============================ ================================================

Attributes as Conv has them: ``group`` (1 or C), ``strides`` [T, F], ``pads`` [T front, F front,
T back, F back]. Outputs: Y float32 [B, T', F', C]; or codes uint8 of that shape, scales float32
[B, T'] and zeros uint8 [B, T'] of the operators whose names end in Uint8. Those whose names begin
with Uint8 have such codes, scales and zeros in place of X, and ``group`` C. The activation is part
of the name: DepthwiseConv2d, DepthwiseConv2dReLU, Uint8DepthwiseConv2dSiLUUint8 and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import onnx_ir as ir

from .functions import function_of
from .quantlinear import DOMAIN, REDUCE_AXES_AS_INPUT

ConvActivation = Literal["", "relu", "silu"]

#: By activation: what the operator's name says of it, and how A comes of the convolution's Z.
CONV_ACTIVATED: Final[dict[ConvActivation, tuple[str, str]]] = {
    "": ("", "A = Identity (Z)"),
    "relu": ("ReLU", "A = Relu (Z)"),
    "silu": ("SiLU", "share = Sigmoid (Z) A = Mul (Z, share)"),
}
#: Of a node that reads codes.
_CODED_INPUTS: Final = 5
#: Ranges of rows are at least this.
ROW_EPSILON: Final = 2.0**-40

_BODY: Final = """
<domain: "{domain}", opset_import: ["": {opset}]>
{op_type} <group, strides, pads> ({inputs}, W, bias) => ({outputs})
{{
  {decoded}
  turned = Transpose <perm = [0, 3, 1, 2]> (X)
  Z = Conv <group: int = @group, strides: ints = @strides, pads: ints = @pads> (turned, W, bias)
  {activation}
  Y = Transpose <perm = [0, 2, 3, 1]> (A)
  {codes}
}}
"""
_DECODED: Final = """
  inner = Constant <value_ints = [2, 3]> ()
  x_numbers = Cast <to = 1> (x_codes)
  x_zero_numbers = Cast <to = 1> (x_zeros)
  x_zero = Unsqueeze (x_zero_numbers, inner)
  x_scale = Unsqueeze (x_scales, inner)
  x_centred = Sub (x_numbers, x_zero)
  X = Mul (x_centred, x_scale)
"""
# `poison` is 0 for finite rows and NaN for others, whatever a runtime's reductions make of NaN.
_CODES: Final = """
  axes = Constant <value_ints = [2, 3]> ()
  nothing = Constant <value_float = 0.0> ()
  epsilon = Constant <value_float = {epsilon!r}> ()
  top = Constant <value_float = 255.0> ()
  largest = {largest}
  smallest = {smallest}
  high = Max (largest, nothing)
  low = Min (smallest, nothing)
  width = Sub (high, low)
  range = Max (width, epsilon)
  inverse = Div (top, range)
  differences = Sub (Y, Y)
  poison = ReduceSum (differences, axes)
  s_finite = Div (range, top)
  s = Add (s_finite, poison)
  below = Neg (low)
  zero_quotient = Mul (below, inverse)
  zero = Round (zero_quotient)
  quotients = Mul (Y, inverse)
  rounded = Round (quotients)
  shifted = Add (rounded, zero)
  bounded = Clip (shifted, nothing, top)
  codes = Cast <to = 2> (bounded)
  scales = Squeeze (s, axes)
  zero_code = Cast <to = 2> (zero)
  zeros = Squeeze (zero_code, axes)
"""


def depthwise_conv2d_function(
    activation: ConvActivation = "",
    *,
    of_uint8: bool = False,
    to_uint8: bool = False,
    opset: int = 17,
) -> ir.Function:
    """The function that defines the operator; it goes into every model that uses it.

    Args:
        activation: "", "relu" or "silu".
        of_uint8: Whether the input is codes, scales and zeros.
        to_uint8: Whether the result is codes, scales and zeros.
        opset: The model's version of the standard domain, at least 15.

    Raises:
        ConfpressError: The opset is too old.
    """
    name = _name(activation, of_uint8, to_uint8)
    reduce = (
        "Reduce{0} <keepdims = 1> (Y, axes)"
        if opset >= REDUCE_AXES_AS_INPUT
        else "Reduce{0} <axes = [2, 3], keepdims = 1> (Y)"
    )
    codes = _CODES.format(
        epsilon=ROW_EPSILON, largest=reduce.format("Max"), smallest=reduce.format("Min")
    )
    text = _BODY.format(
        domain=DOMAIN,
        opset=opset,
        op_type=name,
        activation=CONV_ACTIVATED[activation][1],
        inputs="x_codes, x_scales, x_zeros" if of_uint8 else "X",
        decoded=_DECODED if of_uint8 else "",
        outputs="codes, scales, zeros" if to_uint8 else "Y",
        codes=codes if to_uint8 else "",
    )
    return function_of(text, name, opset)


def depthwise_conv2d_node(
    inputs: Sequence[ir.Value],
    *,
    group: int,
    strides: Sequence[int],
    pads: Sequence[int],
    activation: ConvActivation = "",
    to_uint8: bool = False,
    name: str | None = None,
) -> ir.Node:
    """A node of the operator; the model also needs the function.

    Args:
        inputs: X, or codes, scales and zeros; W, bias.
        group: Channels of X: 1, or as many as W has.
        strides: Over time and columns.
        pads: Rows and columns of zeros in front, then behind.
        activation: "", "relu" or "silu".
        to_uint8: Whether its outputs are codes, scales and zeros instead of Y.
        name: The node's name.
    """
    of_uint8 = reads_codes(inputs)
    node = ir.Node(
        DOMAIN,
        _name(activation, of_uint8, to_uint8),
        list(inputs),
        [ir.AttrInt64("group", group), *window_attributes(strides, pads)],
        num_outputs=3 if to_uint8 else 1,
        name=name,
    )
    float32, uint8 = ir.DataType.FLOAT, ir.DataType.UINT8
    for output, dtype in zip(
        node.outputs, (uint8, float32, uint8) if to_uint8 else (float32,), strict=True
    ):
        output.dtype = dtype
    return node


def reads_codes(inputs: Sequence[ir.Value]) -> bool:
    """Whether a node with these inputs reads codes, scales and zeros in place of X."""
    return len(inputs) == _CODED_INPUTS


def window_attributes(strides: Sequence[int], pads: Sequence[int]) -> list[ir.Attr]:
    """The attributes strides and pads."""
    return [ir.AttrInt64s("strides", list(strides)), ir.AttrInt64s("pads", list(pads))]


def _name(activation: ConvActivation, of_uint8: bool, to_uint8: bool) -> str:
    begin, end = ("Uint8" if each else "" for each in (of_uint8, to_uint8))
    return f"{begin}DepthwiseConv2d{CONV_ACTIVATED[activation][0]}{end}"


#: Names of the operator in all its forms.
OPERATORS: Final = frozenset(
    _name(activation, of_uint8, to_uint8)
    for activation in CONV_ACTIVATED
    for of_uint8 in (False, True)
    for to_uint8 in (False, True)
)

"""The operators QuantConv2d: convolutions over time and frequency in int8, with channels last.

Activations are uint8 with a scale and a zero point for each time row, made when the model runs
(:mod:`depthwiseconv2d` makes them); weights are int8 with a scale for each output channel and each
tap over time. A tap over time reads one row, so its products are summed as integers and scaled
once: what differs from row to row costs one multiplication for each tap over time. The operators
are model-local functions: the body below is their meaning, in exact arithmetic; kernels add the
taps over time in float32 and everything inside one tap exactly.

======== ========= ============================ ================================================
input    type      shape                        meaning
======== ========= ============================ ================================================
codes    uint8     [B, T, F, C]                 time rows, frequency columns, channels
scales   float32   [B, T]                       of the rows; 0 where a row counts as zeros
zeros    uint8     [B, T]                       the code that stands for zero
W        int8      [N, C, kernel T, kernel F]   an initializer
W_scales float32   [N, kernel T]                an initializer
bias     float32   [N]                          an initializer; zeros where there is none
======== ========= ============================ ================================================

Attributes ``strides`` [T, F] and ``pads`` [T front, F front, T back, F back], each less than the
kernel; Y is float32 [B, T', F', N]. The activation is part of the operator's name (QuantConv2d,
QuantConv2dReLU, QuantConv2dSiLU).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

from .depthwiseconv2d import CONV_ACTIVATED, ConvActivation, window_attributes
from .functions import function_of
from .quantlinear import DOMAIN

#: A row of the window has at most so many products of codes, so that int32 holds their sum.
MOST_ROW_PRODUCTS: Final = 65536
#: Taps and strides of an axis, of the depthwise convolution too.
MOST_WINDOW: Final = 64
#: Names of the operator by the activation that it computes too.
OPERATOR_OF: Final[dict[ConvActivation, str]] = {
    activation: f"QuantConv2d{suffix}" for activation, (suffix, _) in CONV_ACTIVATED.items()
}

#: From float32 ``weights`` and the codes to Y, as part of a body.
CONVOLVE: Final = """
  inner = Constant <value_ints = [2, 3]> ()
  outer = Constant <value_ints = [1, 3]> ()
  numbers = Cast <to = 1> (codes)
  zero_numbers = Cast <to = 1> (zeros)
  zero = Unsqueeze (zero_numbers, inner)
  scale = Unsqueeze (scales, inner)
  centred = Sub (numbers, zero)
  rows = Mul (centred, scale)
  x = Transpose <perm = [0, 3, 1, 2]> (rows)
  weight_scale = Unsqueeze (W_scales, outer)
  w = Mul (weights, weight_scale)
  Z = Conv <strides: ints = @strides, pads: ints = @pads> (x, w, bias)
  {activation}
  Y = Transpose <perm = [0, 2, 3, 1]> (A)
"""
_BODY: Final = f"""
<domain: "{{domain}}", opset_import: ["": {{opset}}]>
{{op_type}} <strides, pads> (codes, scales, zeros, W, W_scales, bias) => (Y)
{{{{
  weights = Cast <to = 1> (W)
{CONVOLVE}}}}}
"""


def quant_conv2d_function(activation: ConvActivation = "", *, opset: int = 17) -> ir.Function:
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


def quant_conv2d_node(
    inputs: Sequence[ir.Value],
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    activation: ConvActivation = "",
    name: str | None = None,
) -> ir.Node:
    """A node of the operator; the model also needs the function.

    Args:
        inputs: codes, scales, zeros, W, W_scales, bias.
        strides: Over time and columns.
        pads: Rows and columns of zeros in front, then behind.
        activation: "", "relu" or "silu".
        name: The node's name.
    """
    node = ir.Node(
        DOMAIN, OPERATOR_OF[activation], list(inputs), window_attributes(strides, pads), name=name
    )
    node.outputs[0].dtype = ir.DataType.FLOAT
    return node

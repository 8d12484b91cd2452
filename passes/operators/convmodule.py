"""The operators ConvModule: the middle of a convolution module on frames as its layers have them.

Between its pointwise layers a Conformer's convolution module (Gulati et al. 2020) gates half of its
channels with the other half (GLU), clears padded frames, convolves every channel over time and
applies an activation:

    g_t = value_t · sigmoid(gate_t), 0 where masked or outside
    y_t = activation(bias + Σ_i W_i · g_{t - pads[0] + i})

A norm behind the convolution is in W and bias where the exporter folded it. The operators are
model-local functions: the body below is their meaning.

======== ========= ====================== ======================================================
input    type      shape                  meaning
======== ========= ====================== ======================================================
X        float32   [B, T, features]       values are C columns from columns[0] on, gates from
                                          columns[1] on
W        float32   [C, 1, K]              filters, an initializer
bias     float32   [C]                    an initializer; zeros where there is none
mask     bool      [B or 1, 1, T or 1]    true where a frame counts as zeros; [[[false]]] where
                                          all count
======== ========= ====================== ======================================================

Attributes: ``channels`` is C, ``columns`` the two first columns, ``pads`` the frames of zeros in
front and behind: [K // 2, K // 2], or [K - 1, 0] for a causal convolution. Y is
[B, T + pads[0] + pads[1] - K + 1, C]. The activation is part of the operator's name (ConvModule,
ConvModuleSiLU).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import onnx_ir as ir

from .functions import function_of
from .quantlinear import DOMAIN

#: The kernels hold a block of frames and what the filters reach over.
MOST_TAPS: Final = 256

ConvActivation = Literal["", "silu"]

_OP_TYPES: Final[dict[ConvActivation, str]] = {"": "ConvModule", "silu": "ConvModuleSiLU"}
_BODIES: Final[dict[ConvActivation, str]] = {
    "": "A = Identity (Z)",
    "silu": "share = Sigmoid (Z) A = Mul (Z, share)",
}

_BODY: Final = """
<domain: "{domain}", opset_import: ["": {opset}]>
{op_type} <channels, columns, pads> (X, W, bias, mask) => (Y)
{{
  first = Constant <value_ints = [0]> ()
  second = Constant <value_ints = [1]> ()
  last = Constant <value_ints = [2]> ()
  nothing = Constant <value_float = 0.0> ()
  starts = Constant <value_ints: ints = @columns> ()
  width = Shape (bias)
  value_start = Gather (starts, first)
  value_end = Add (value_start, width)
  values = Slice (X, value_start, value_end, last)
  gate_start = Gather (starts, second)
  gate_end = Add (gate_start, width)
  gates = Slice (X, gate_start, gate_end, last)
  open = Sigmoid (gates)
  gated = Mul (values, open)
  turned = Transpose <perm = [0, 2, 1]> (gated)
  cleared = Where (mask, nothing, turned)
  Z = Conv <group: int = @channels, pads: ints = @pads> (cleared, W, bias)
  {activation}
  Y = Transpose <perm = [0, 2, 1]> (A)
}}
"""


def conv_module_function(activation: ConvActivation = "", opset: int = 17) -> ir.Function:
    """The function that defines the operator; it goes into every model that uses it.

    Args:
        activation: "" or "silu".
        opset: The model's version of the standard domain, at least 15.

    Raises:
        ConfpressError: The opset is too old.
    """
    op_type = _OP_TYPES[activation]
    text = _BODY.format(domain=DOMAIN, opset=opset, op_type=op_type, activation=_BODIES[activation])
    return function_of(text, op_type, opset)


def conv_module_node(
    inputs: Sequence[ir.Value],
    *,
    channels: int,
    columns: Sequence[int],
    pads: Sequence[int],
    activation: ConvActivation = "",
    name: str | None = None,
) -> ir.Node:
    """A node of the operator; the model also needs the function.

    Args:
        inputs: X, W, bias, mask.
        channels: C.
        columns: First columns of values and gates in X.
        pads: Frames of zeros in front and behind.
        activation: "" or "silu".
        name: The node's name.
    """
    node = ir.Node(
        DOMAIN,
        _OP_TYPES[activation],
        list(inputs),
        [
            ir.AttrInt64("channels", channels),
            ir.AttrInt64s("columns", list(columns)),
            ir.AttrInt64s("pads", list(pads)),
        ],
        name=name,
    )
    (y,) = node.outputs
    y.dtype = ir.DataType.FLOAT
    x, filters = inputs[:2]
    if x.shape is not None and filters.shape is not None:
        same = filters.shape[2] == sum(pads) + 1
        y.shape = ir.Shape([x.shape[0], x.shape[1] if same else None, channels])
    return node

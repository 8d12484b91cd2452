"""The operators QuantLinear: Y = activation(X Wᵀ + b) with int8 weights and int8 activations.

The weights have one scale per output channel; X is quantised frame by frame when the model runs.
Each is a model-local function: its body below is its exact meaning in standard operators, and ONNX
Runtime runs that body where the kernel library is not loaded. The kernels compute the
same values, bit for bit without an activation as long as the body's float accumulation is exact
(K <= 1040); beyond that the kernels stay exact and the body rounds as a float MatMul does, within
about K · 2⁻²⁴ of the largest partial sum.

=========== ========= ==================================== =====================================
input       type      shape                                meaning
=========== ========= ==================================== =====================================
X           float32   [..., K]                             any number of frames, also none
W           int8      [ceil(N / 16), ceil(K / 4), 16, 4]   W[s, g, r, i] is row 16 s + r, column
                                                           4 g + i; zeros where those exceed N, K
scales      float32   [N]                                  of the weights' rows
bias        float32   [N]                                  zeros where a layer has none
=========== ========= ==================================== =====================================

The attribute ``shape`` is [N, K]. The activation is part of the operator's name (QuantLinear,
QuantLinearSiLU; :mod:`.activated` has all).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..errors import ConfpressError
from .activated import ACTIVATED, operator
from .functions import function_of

#: Domain of our operators; the version is that of the packed layouts.
DOMAIN: Final = "confpress.v1"
#: Activations are in -QMAX..QMAX.
QMAX: Final = 127
#: Frames whose largest magnitude is below this are quantised as if it were this (2⁻⁴⁰).
EPSILON: Final = 2.0**-40
#: Output rows of one strip and columns of one group of the packed weights.
STRIP: Final = 16
GROUP: Final = 4


#: The operator without an activation.
FAMILY: Final = "QuantLinear"

#: The axes of ReduceMax were an attribute before opset 18.
REDUCE_AXES_AS_INPUT: Final = 18

# s is the scale of each frame. A frame that holds an infinity or NaN is NaN in all its outputs:
# `poison` is 0 for finite frames and NaN for others, whatever a runtime's ReduceMax, Clip or Round
# make of NaN. x / s is a true division and Round ties to even; both decide which code a value gets.
# The frames are a matrix inside, because ONNX Runtime's reductions over a negative axis give empty
# tensors a wrong shape.
_FRAMES: Final = """
  frames = Flatten <axis = -1> (X)
  last = Constant <value_ints = [1]> ()
  magnitudes = Abs (frames)
  largest = {reduce_max}
  epsilon = Constant <value_float = {epsilon!r}> ()
  qmax = Constant <value_float = {qmax:.1f}> ()
  qmin = Constant <value_float = -{qmax:.1f}> ()
  bounded = Max (largest, epsilon)
  s_finite = Div (bounded, qmax)
  differences = Sub (frames, frames)
  poison = ReduceSum (differences, last)
  s = Add (s_finite, poison)
  quotients = Div (frames, s)
  rounded = Round (quotients)
  q = Clip (rounded, qmin, qmax)
"""

#: From A [frames, N] to Y [..., N].
OUTPUT: Final = """
  {activation}
  leading = Shape <end = -1> (X)
  channels = Shape (bias)
  y_shape = Concat <axis = 0> (leading, channels)
  Y = Reshape <allowzero = 1> (A, y_shape)
"""

#: From the codes [>= N, >= K] in `padded` (int8 or float32) to Z: the integer product and its
#: scales.
INT8_PRODUCT: Final = """
  starts = Constant <value_ints = [0, 0]> ()
  ends = Constant <value_ints: ints = @shape> ()
  w_codes = Slice (padded, starts, ends)
  w_rows = Cast <to = 1> (w_codes)
  w = Transpose <perm = [1, 0]> (w_rows)
  products = MatMul (q, w)
  per_frame = Mul (products, s)
  per_channel = Mul (per_frame, scales)
  Z = Add (per_channel, bias)
"""

_BODY: Final = f"""
  rows_first = Transpose <perm = [0, 2, 1, 3]> (W)
  padded = Flatten <axis = 2> (rows_first)
{INT8_PRODUCT}"""


def frame_function(
    family: str,
    attributes: Sequence[str],
    body: str,
    activation: str,
    opset: int,
    weights: Sequence[str] = ("W",),
) -> ir.Function:
    """A function of X, weights, scales and bias that quantises X per frame, as text around a body.

    Args:
        family: The operator's name without the activation.
        attributes: Names of its attributes.
        body: Nodes, in ONNX's text format, from ``q`` (codes [frames, K], as floats), ``s``
            ([frames, 1]) and the inputs to ``Z`` [frames, N].
        activation: What the output is made with, one of :data:`.activated.ACTIVATIONS`.
        opset: The version of the standard domain.
        weights: Names of the inputs between X and scales.

    Raises:
        ConfpressError: The activation is unknown or the opset too old.
    """
    op_type = operator(family, activation)
    reduce_max = (
        "ReduceMax <keepdims = 1> (magnitudes, last)"
        if opset >= REDUCE_AXES_AS_INPUT
        else "ReduceMax <axes = [1], keepdims = 1> (magnitudes)"
    )
    frames = _FRAMES.format(epsilon=EPSILON, qmax=float(QMAX), reduce_max=reduce_max)
    text = (
        f'<domain: "{DOMAIN}", opset_import: ["": {opset}]>\n'
        f"{op_type} <{', '.join(attributes)}> (X, {', '.join(weights)}, scales, bias) => (Y)\n"
        f"{{{frames}{body}{OUTPUT.format(activation=ACTIVATED[activation][1])}}}"
    )
    return function_of(text, op_type, opset)


def pack_int8(weight: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Packs a weight of shape [N, K] into the operator's layout.

    Args:
        weight: int8 codes, one row per output channel.

    Returns:
        int8 of shape [ceil(N / 16), ceil(K / 4), 16, 4], padded with zeros.

    Raises:
        ConfpressError: The weight is not a non-empty int8 matrix.
    """
    if weight.ndim != 2 or weight.size == 0 or weight.dtype != np.int8:
        raise ConfpressError(
            f"QuantLinear packs a non-empty int8 matrix [N, K], "
            f"not {weight.dtype} of shape {list(weight.shape)}."
        )
    n, k = weight.shape
    padded = np.pad(weight, ((0, -n % STRIP), (0, -k % GROUP)))
    strips = padded.reshape(-1, STRIP, padded.shape[1] // GROUP, GROUP)
    return np.ascontiguousarray(strips.transpose(0, 2, 1, 3))


def unpack_int8(packed: npt.NDArray[np.int8], shape: Sequence[int]) -> npt.NDArray[np.int8]:
    """The weight [N, K] that was packed; the inverse of :func:`pack_int8`.

    Args:
        packed: int8 of shape [ceil(N / 16), ceil(K / 4), 16, 4].
        shape: [N, K].

    Raises:
        ConfpressError: The packed array does not have the layout of that shape.
    """
    n, k = shape
    expected = packed_shape(n, k)
    if packed.shape != expected or packed.dtype != np.int8:
        raise ConfpressError(
            f"a packed weight of shape [{n}, {k}] is int8 {list(expected)}, "
            f"not {packed.dtype} {list(packed.shape)}."
        )
    rows = packed.transpose(0, 2, 1, 3).reshape(expected[0] * STRIP, expected[1] * GROUP)
    return np.ascontiguousarray(rows[:n, :k])


def packed_shape(n: int, k: int) -> tuple[int, int, int, int]:
    """The shape of the packed weight of a layer with N outputs and K inputs."""
    return (-(-n // STRIP), -(-k // GROUP), STRIP, GROUP)


def quant_linear_function(activation: str = "", *, opset: int = 17) -> ir.Function:
    """The function that defines the operator; it goes into every model that uses it.

    Args:
        activation: One of :data:`.activated.ACTIVATIONS`.
        opset: The model's version of the standard domain, at least 15. A function imports the
            version of its model: several operators of the body have newer versions.

    Raises:
        ConfpressError: The activation is unknown or the opset too old.
    """
    return frame_function(FAMILY, ["shape"], _BODY, activation, opset)


def quant_linear_node(
    x: ir.Value,
    weight: ir.Value,
    scales: ir.Value,
    bias: ir.Value,
    *,
    shape: Sequence[int],
    activation: str = "",
    name: str | None = None,
) -> ir.Node:
    """A node of the operator; the model also needs its function, :func:`quant_linear_function`.

    Args:
        x: float32 [..., K].
        weight: An initializer, int8, made by :func:`pack_int8`.
        scales: An initializer, float32 [N].
        bias: An initializer, float32 [N].
        shape: [N, K].
        activation: One of :data:`.activated.ACTIVATIONS`.
        name: The node's name.

    Raises:
        ConfpressError: The activation is unknown.
    """
    inputs = [x, weight, scales, bias]
    return frame_node(operator(FAMILY, activation), inputs, [ir.AttrInt64s("shape", shape)], name)


def frame_node(
    op_type: str, inputs: Sequence[ir.Value], attributes: Sequence[ir.Attr], name: str | None
) -> ir.Node:
    """A node of a linear operator, whose first attribute is ``shape``, [N, K]."""
    node = ir.Node(DOMAIN, op_type, inputs, attributes, name=name)
    (y,) = node.outputs
    y.dtype = ir.DataType.FLOAT
    x = inputs[0]
    if x.shape is not None:
        y.shape = ir.Shape([*x.shape.dims[:-1], attributes[0].as_ints()[0]])
    return node

"""The operator Swoosh: the activation of Zipformer (Yao et al. 2024), a softplus less a line.

    y = log(1 + exp(x - shift)) - slope · x - offset

SwooshL has shift 4 and offset 0.035, SwooshR shift 1 and offset 0.3132617, both slope 0.08. Exports
have it in nine nodes or eleven, each of which reads and writes all elements. The operator is a
model-local function: the body below is its meaning. X and Y are float32 of any shape; ``shift``,
``slope`` and ``offset`` are floats.
"""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from .functions import function_of
from .quantlinear import DOMAIN

SWOOSH: Final = "Swoosh"

_BODY: Final = """
<domain: "{domain}", opset_import: ["": {opset}]>
Swoosh <shift, slope, offset> (X) => (Y)
{{
  one = Constant <value_float = 1.0> ()
  start = Constant <value_float: float = @shift> ()
  factor = Constant <value_float: float = @slope> ()
  level = Constant <value_float: float = @offset> ()
  z = Sub (X, start)
  distance = Abs (z)
  below = Neg (distance)
  small = Exp (below)
  more = Add (small, one)
  bend = Log (more)
  above = Relu (z)
  softplus = Add (above, bend)
  line = Mul (X, factor)
  rest = Sub (softplus, line)
  Y = Sub (rest, level)
}}
"""


def swoosh_function(opset: int = 17) -> ir.Function:
    """The function that defines the operator; it goes into every model that uses it.

    Args:
        opset: The model's version of the standard domain, at least 15.

    Raises:
        ConfpressError: The opset is too old.
    """
    return function_of(_BODY.format(domain=DOMAIN, opset=opset), SWOOSH, opset)


def swoosh_node(
    x: ir.Value, *, shift: float, slope: float, offset: float, name: str | None = None
) -> ir.Node:
    """A node of the operator; the model also needs the function."""
    node = ir.Node(
        DOMAIN,
        SWOOSH,
        [x],
        [
            ir.AttrFloat32("shift", shift),
            ir.AttrFloat32("slope", slope),
            ir.AttrFloat32("offset", offset),
        ],
        name=name,
    )
    node.outputs[0].dtype, node.outputs[0].shape = ir.DataType.FLOAT, x.shape
    return node

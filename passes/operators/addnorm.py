"""The operators AddNorm and AddNormNorm: the end of a residual branch and the norms that follow.

    sum = stream + scale · branch,  normed = LayerNorm(sum)

gives a Conformer's stream and the input of its next module. Behind a block's last module the stream
itself is normalised, and its norm is normalised again for the next block: AddNormNorm gives both
norms and not the sum. ``scale`` is 0.5 in half-step modules, 1 in others.

Both are model-local functions: the bodies below are their meaning. Inputs are stream and branch,
float32 [..., C] of one shape, and weight and bias [C] of each norm; attributes are ``scale``,
``epsilon`` and, for the second norm, ``epsilon2``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

from ..errors import ConfpressError
from .functions import function_of
from .quantlinear import DOMAIN

#: LayerNormalization came with opset 17.
LEAST_OPSET: Final = 17

_ONE: Final = """
<domain: "{domain}", opset_import: ["": {opset}]>
AddNorm <scale, epsilon> (stream, branch, weight, bias) => (sum, normed)
{{
  factor = Constant <value_float: float = @scale> ()
  scaled = Mul (branch, factor)
  sum = Add (stream, scaled)
  normed = LayerNormalization <axis = -1, epsilon: float = @epsilon> (sum, weight, bias)
}}
"""
_TWO: Final = """
<domain: "{domain}", opset_import: ["": {opset}]>
AddNormNorm <scale, epsilon, epsilon2> (stream, branch, weight, bias, weight2, bias2)
  => (normed, normed2)
{{
  factor = Constant <value_float: float = @scale> ()
  scaled = Mul (branch, factor)
  sum = Add (stream, scaled)
  normed = LayerNormalization <axis = -1, epsilon: float = @epsilon> (sum, weight, bias)
  normed2 = LayerNormalization <axis = -1, epsilon: float = @epsilon2> (normed, weight2, bias2)
}}
"""


def add_norm_function(norms: int = 1, opset: int = 17) -> ir.Function:
    """The function that defines the operator; it goes into every model that uses it.

    Args:
        norms: 1 for AddNorm, 2 for AddNormNorm.
        opset: The model's version of the standard domain.

    Raises:
        ConfpressError: The opset is older than 17.
    """
    name = _name(norms)
    if opset < LEAST_OPSET:
        raise ConfpressError(f"{name} needs opset {LEAST_OPSET} or newer, not {opset}.")
    text = {1: _ONE, 2: _TWO}[norms].format(domain=DOMAIN, opset=opset)
    return function_of(text, name, opset)


def add_norm_node(
    inputs: Sequence[ir.Value],
    *,
    scale: float,
    epsilons: Sequence[float],
    name: str | None = None,
) -> ir.Node:
    """A node of the operator; the model also needs the function.

    Args:
        inputs: Stream, branch, then weight and bias of one norm or of two.
        scale: Factor of the branch.
        epsilons: Of each norm.
        name: The node's name.
    """
    attributes = [ir.AttrFloat32("scale", scale), ir.AttrFloat32("epsilon", epsilons[0])]
    attributes += [ir.AttrFloat32("epsilon2", e) for e in epsilons[1:]]
    node = ir.Node(DOMAIN, _name(len(epsilons)), list(inputs), attributes, num_outputs=2, name=name)
    for output in node.outputs:
        output.dtype = ir.DataType.FLOAT
        output.shape = inputs[0].shape
    return node


def _name(norms: int) -> str:
    return {1: "AddNorm", 2: "AddNormNorm"}[norms]

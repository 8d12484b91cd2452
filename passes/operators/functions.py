"""Operators of ours as model-local functions: their text, and how they get into a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import onnx.parser
import onnx_ir as ir

from ..errors import ConfpressError

#: Model-local functions came with IR 8.
_FUNCTIONS_IR_VERSION: Final = 8
#: Shape with an end, which the bodies use, came with opset 15.
LEAST_OPSET: Final = 15


def function_of(text: str, name: str, opset: int) -> ir.Function:
    """Parses the body of an operator, in ONNX's text format.

    Args:
        text: The function.
        name: The operator, for the error.
        opset: The model's version of the standard domain, which the text imports.

    Raises:
        ConfpressError: The opset is older than 15.
    """
    if opset < LEAST_OPSET:
        raise ConfpressError(f"{name} needs opset {LEAST_OPSET} or newer, not {opset}.")
    function = ir.serde.deserialize_function(onnx.parser.parse_function(text))
    for index, node in enumerate(function):
        # ONNX Runtime 1.20 and older names what it fuses after the nodes; equal names of nothing
        # are an error there.
        node.name = f"{node.op_type}_{index}"
    return function


def define(model: ir.Model, function: ir.Function) -> None:
    """Puts a function, its domain and the IR version of functions into a model.

    Args:
        model: Modified in place; nothing changes where the function is already there.
        function: The operator's definition, for the model's opset.
    """
    model.functions.setdefault(function.identifier(), function)
    model.opset_imports.setdefault(function.domain, 1)
    model.ir_version = max(model.ir_version, _FUNCTIONS_IR_VERSION)


def define_operator(
    model: ir.Model, function: Callable[..., ir.Function], *arguments: int | str
) -> None:
    """Puts an operator into a model: :func:`define` with what makes the function for its opset.

    Args:
        model: Modified in place; nothing changes where the function is already there.
        function: Such as :func:`.quantlinear.quant_linear_function`.
        arguments: Of it, such as the activation; it is given the model's opset too.

    Raises:
        ConfpressError: The arguments are none of the operator's, or the model's opset is too old.
    """
    define(model, function(*arguments, opset=model.opset_imports.get("", 1)))

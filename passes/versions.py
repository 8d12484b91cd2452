"""Opset and IR version of the models that passes work on and write.

Every pass writes one spelling of each operator, that of ``WORKING_OPSET``: the lowest that can
state per-frame scales, loaded by every onnxruntime since 1.18. Models of newer opsets stay as they
are: the newest onnx writes opsets that no released runtime loads, so nothing is raised further.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import onnx_ir as ir
from onnxscript import version_converter

from .errors import ConfpressError

#: Blocked QuantizeLinear with ``output_dtype`` came with opset 21 (onnx 1.16).
WORKING_OPSET = 21
#: Model-local functions with overloads came with IR 10, as did opset 21.
OVERLOAD_IR_VERSION = 10
#: onnxscript converts from this opset on.
_FIRST_MODERN_OPSET = 18


@contextlib.contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Keeps a library's warnings about what we handle ourselves off the user's screen."""
    named = logging.getLogger(logger)
    level = named.level
    named.setLevel(logging.ERROR)
    try:
        yield
    finally:
        named.setLevel(level)


def raise_opset(model: ir.Model, opset: int = WORKING_OPSET) -> bool:
    """Converts the model to at least this opset of the standard domain.

    Args:
        model: Modified in place.
        opset: The least version that is needed.

    Returns:
        Whether the model was converted.

    Raises:
        ConfpressError: The library knows no conversion for one of the operators.
    """
    current = model.opset_imports.get("", 1)
    if current >= opset:
        return False
    if current < _FIRST_MODERN_OPSET:
        # onnx's own converter knows the older versions; it drops names of scopes, which only
        # exporters of newer opsets write.
        with quiet("onnxscript.version_converter"):
            version_converter.convert_version(model, _FIRST_MODERN_OPSET, fallback=True)
    version_converter.convert_version(model, opset)
    reached = model.opset_imports.get("", 1)
    if reached < opset:
        raise ConfpressError(
            f"the model is at opset {current} and could only be converted to {reached}, "
            f"but {opset} is needed; export it again at opset 17 or newer"
        )
    model.ir_version = OVERLOAD_IR_VERSION
    return True

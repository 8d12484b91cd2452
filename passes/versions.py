"""Opset and IR version: raised only when an operator of ours needs it.

The newest onnx writes opsets that no released runtime loads, and runtimes bundled in other
products are older still, so a file states the lowest versions that serve it.
"""

from __future__ import annotations

import onnx_ir as ir
from onnxscript import version_converter

#: Blocked QuantizeLinear with ``output_dtype`` came with opset 21 (onnx 1.16).
BLOCKED_QDQ_OPSET = 21
#: Model-local functions with overloads came with IR 10, as did opset 21.
OVERLOAD_IR_VERSION = 10
#: onnxscript converts from this opset on.
_FIRST_MODERN_OPSET = 18


def raise_opset(model: ir.Model, opset: int) -> bool:
    """Converts the model to at least this opset of the standard domain.

    Args:
        model: Modified in place.
        opset: The least version that is needed.

    Returns:
        Whether the model was converted.

    Raises:
        ValueError: The library knows no conversion for one of the operators.
    """
    current = model.opset_imports.get("", 1)
    if current >= opset:
        return False
    if current < _FIRST_MODERN_OPSET:
        # onnx's own converter knows the older versions; it drops names of scopes, which only
        # exporters of newer opsets write.
        version_converter.convert_version(model, _FIRST_MODERN_OPSET, fallback=True)
    version_converter.convert_version(model, opset)
    reached = model.opset_imports.get("", 1)
    if reached < opset:
        raise ValueError(
            f"the model is at opset {current} and could only be converted to {reached}, "
            f"but {opset} is needed; export it again at opset 17 or newer"
        )
    model.ir_version = OVERLOAD_IR_VERSION
    return True

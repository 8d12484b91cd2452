"""Confpress: deployment optimiser for Conformer speech models.

    import confpress

    result = confpress.optimize("model.onnx", output="result", calibration="speech/")

The passes (``confpress.passes``) compose with ``onnx_ir.passes.Sequential``; everything the command
line does is one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .optimizer.api import optimize as optimize
    from .passes.errors import ConfpressError as ConfpressError

__all__ = ["ConfpressError", "__version__", "optimize"]


def __getattr__(name: str) -> Any:
    """Loads the interface on first use: onnx and ONNX Runtime take a second to import."""
    if name == "optimize":
        from .optimizer.api import optimize

        return optimize
    if name == "ConfpressError":
        from .passes.errors import ConfpressError

        return ConfpressError
    raise AttributeError(f"module 'confpress' has no attribute '{name}'")

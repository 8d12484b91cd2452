"""What decisions about weights need to know of the processor that a model will run on."""

from __future__ import annotations

from ..passes.errors import ConfpressError
from ..passes.sparselinear import BLOCK, WINDOW
from .kernels import describe, library_path


def look_up_reach(instructions: str = "here") -> int:
    """Bytes that one table look-up reaches; patterns of zeros go by it.

    Args:
        instructions: The name of a path of the kernel library, "any", or "here" for the path that
            this process uses.

    Raises:
        ConfpressError: CONFPRESS_KERNELS names a path that does not exist or cannot be used.
    """
    path = _path_here() if instructions == "here" else instructions
    return BLOCK if path == "avx512vbmi" else WINDOW


def _path_here() -> str:
    try:
        library_path()
    except ConfpressError:
        return "any"
    return describe().chosen

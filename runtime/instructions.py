"""What decisions about weights need to know of the processor that a model will run on."""

from __future__ import annotations

from collections.abc import Collection

from ..passes.errors import ConfpressError
from ..passes.operators.sparselinear import BLOCK, WINDOW
from .kernels import describe, library_path
from .machine import describe_machine

_X86 = "avx2"
_VNNI = frozenset(("avx512_vnni", "avx_vnni"))
#: Paths whose look-ups reach a whole block.
_VBMI = frozenset(("avx512vbmi", "amx"))


def look_up_reach(instructions: str = "here") -> int:
    """Bytes that one table look-up reaches; patterns of zeros go by it.

    Args:
        instructions: The name of a path of the kernel library, "any", or "here" for the path that
            this process uses.

    Raises:
        ConfpressError: CONFPRESS_KERNELS names a path that does not exist or cannot be used.
    """
    path = _path_here() if instructions == "here" else instructions
    return BLOCK if path in _VBMI else WINDOW


def sums_saturate(features: Collection[str]) -> bool:
    """Whether ONNX Runtime sums products of uint8 and int8 in 16 bits, with saturation.

    Args:
        features: Instruction sets of the processor.
    """
    return _X86 in features and _VNNI.isdisjoint(features)


def needs_seven_bits(instructions: str = "here") -> bool:
    """Whether int8 weights that ONNX Runtime multiplies must not fill their eight bits.

    Args:
        instructions: As of `look_up_reach`; "avx2" is an x86 processor without VNNI, and "here"
            this one.
    """
    if instructions == "here":
        return sums_saturate(describe_machine()["cpu_features"])
    return instructions == _X86


def _path_here() -> str:
    try:
        library_path()
    except ConfpressError:
        return "any"
    return describe().chosen

"""Number formats of 2, 4 and 8 bits, in numpy: no torch, no session, one family a file."""

from __future__ import annotations

from typing import Final

from ..errors import ConfpressError
from .compensate import compensate
from .float4 import FP4
from .float8 import FP8, FP8_E5M2
from .half import HALVES, stored_half
from .integer import INT2, INT4, INT8, UINT4, UINT8
from .matrix import QuantizedMatrix, quantize_matrix, weight_error
from .number import NumberFormat
from .scale_types import SCALE_BYTES, SCALE_DTYPES, ScaleType
from .scheme import BLOCK_SIZES, Granularity, ScaleMethod, Scheme

#: Every format by its name.
FORMATS: Final[dict[str, NumberFormat]] = {
    each.name: each for each in (INT8, UINT8, FP8, FP8_E5M2, INT4, UINT4, FP4, INT2)
}


def number_format(name: str) -> NumberFormat:
    """The format of a name.

    Raises:
        ConfpressError: there is none.
    """
    if name not in FORMATS:
        raise ConfpressError(f"there is no format '{name}'; there are: {', '.join(FORMATS)}.")
    return FORMATS[name]


__all__ = [
    "BLOCK_SIZES",
    "FORMATS",
    "FP4",
    "FP8",
    "FP8_E5M2",
    "HALVES",
    "INT2",
    "INT4",
    "INT8",
    "SCALE_BYTES",
    "SCALE_DTYPES",
    "UINT4",
    "UINT8",
    "Granularity",
    "NumberFormat",
    "QuantizedMatrix",
    "ScaleMethod",
    "ScaleType",
    "Scheme",
    "compensate",
    "number_format",
    "quantize_matrix",
    "stored_half",
    "weight_error",
]

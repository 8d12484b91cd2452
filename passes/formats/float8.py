"""Floats of 8 bits (OCP 8-bit floating point, and ONNX's types of the same names).

E4M3FN has no infinities, one NaN a sign, and 448 as its largest value; E5M2 is a float16 of which
the upper half was kept, up to 57,344.
"""

from __future__ import annotations

from typing import Final

import ml_dtypes

from .number import NumberFormat

FP8: Final = NumberFormat(
    "fp8",
    8,
    ml_dtypes.float8_e4m3fn,
    -448.0,
    448.0,
    top=448.0,
    integer=False,
    mantissa=3,
    exponent=-6,
)
FP8_E5M2: Final = NumberFormat(
    "fp8_e5m2",
    8,
    ml_dtypes.float8_e5m2,
    -57344.0,
    57344.0,
    top=57344.0,
    integer=False,
    mantissa=2,
    exponent=-14,
)

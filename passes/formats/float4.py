"""Floats of 4 bits: E2M1 (OCP MX), ±{0, 0.5, 1, 1.5, 2, 3, 4, 6}, no infinities and no NaN."""

from __future__ import annotations

from typing import Final

import ml_dtypes

from .number import NumberFormat

FP4: Final = NumberFormat(
    "fp4", 4, ml_dtypes.float4_e2m1fn, -6.0, 6.0, top=6.0, integer=False, mantissa=1, exponent=0
)

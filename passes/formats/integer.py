"""Integers of 8, 4 and 2 bits.

Symmetric int8 stays within ±127, as the kernels of linear layers need it; int4 and int2 use their
most negative code too where a scale that was searched for gains by it.
"""

from __future__ import annotations

from typing import Final

import ml_dtypes
import numpy as np

from .number import NumberFormat

INT8: Final = NumberFormat("int8", 8, np.int8, -127, 127, top=127, integer=True)
UINT8: Final = NumberFormat("uint8", 8, np.uint8, 0, 255, top=127, integer=True)
INT4: Final = NumberFormat("int4", 4, ml_dtypes.int4, -8, 7, top=7, integer=True)
UINT4: Final = NumberFormat("uint4", 4, ml_dtypes.uint4, 0, 15, top=7, integer=True)
INT2: Final = NumberFormat("int2", 2, ml_dtypes.int2, -2, 1, top=1, integer=True)

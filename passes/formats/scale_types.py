"""How scales are stored: float32, float16, or E8M0, a power of two in one byte (OCP MX)."""

from __future__ import annotations

from typing import Final, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from .number import Floats

ScaleType = Literal["float32", "float16", "e8m0"]

#: Bytes of a scale.
SCALE_BYTES: Final[dict[ScaleType, int]] = {"float32": 4, "float16": 2, "e8m0": 1}
#: The types of their arrays.
SCALE_DTYPES: Final[dict[ScaleType, npt.DTypeLike]] = {
    "float32": np.float32,
    "float16": np.float16,
    "e8m0": ml_dtypes.float8_e8m0fnu,
}
_LEAST: Final = float(np.finfo(np.float32).tiny)
_FLOAT16: Final = np.finfo(np.float16)


def stored(scales: Floats, kind: ScaleType) -> Floats:
    """Scales as they are after storing, float32.

    Powers of two are rounded up, so that nothing that fitted is clipped; the others to the
    nearest. Positive scales stay positive and finite.
    """
    positive = np.maximum(scales, np.float32(_LEAST))
    if kind == "float32":
        return positive
    if kind == "float16":
        kept = np.clip(positive, float(_FLOAT16.smallest_subnormal), float(_FLOAT16.max))
        return kept.astype(np.float16).astype(np.float32)
    mantissa, exponent = np.frexp(positive)
    # frexp gives [0.5, 1): exact powers of two are 0.5 times the next one.
    power = np.where(mantissa == 0.5, exponent - 1, exponent)
    powers: Floats = np.ldexp(np.float32(1), np.clip(power, -126, 127)).astype(np.float32)
    return powers

"""Floats of 16 bits, in which weights are stored as they are: no codes, no scales."""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np
import numpy.typing as npt

from .number import Floats

#: float16 has 10 bits behind the point and ends at 65504 (tiny numbers lose bits below 6e-5);
#: bfloat16 has 7, and float32's range.
HALVES: Final[dict[str, Any]] = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def stored_half(weight: Floats, kind: str) -> npt.NDArray[Any]:
    """A weight in 16 bits; values beyond the type's largest become that one, not infinities."""
    limit = float(ml_dtypes.finfo(HALVES[kind]).max)  # type: ignore[no-untyped-call]
    half: npt.NDArray[Any] = np.clip(weight, -limit, limit).astype(HALVES[kind])
    return half

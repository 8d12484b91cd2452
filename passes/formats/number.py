"""What a number format is: which values its codes have, and how a value becomes a code.

Values are rounded to the nearest code, ties to even, and saturate: none of them becomes an infinity
or NaN. The arrays of codes have the types of ml_dtypes, which onnx and onnx_ir store as they are.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfpressError

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class NumberFormat:
    """A format of 2, 4 or 8 bits.

    Attributes:
        name: What plans, recipes and reports call it.
        bits: Bits of a code.
        dtype: The type of code arrays; its ONNX type has the same meaning.
        lowest, highest: The least and the greatest finite value.
        top: The magnitude that the largest value of a symmetric group is scaled to.
        integer: Whether the values are the integers from ``lowest`` to ``highest``.
    """

    name: str
    bits: int
    dtype: npt.DTypeLike
    lowest: float
    highest: float
    top: float
    integer: bool

    @property
    def signed(self) -> bool:
        """Whether there are negative values."""
        return self.lowest < 0

    @property
    def centre(self) -> int:
        """The zero point of symmetric groups: the middle of unsigned integers, else zero."""
        return 0 if self.signed else 1 << (self.bits - 1)

    def encode(self, values: npt.NDArray[np.floating[Any]]) -> Codes:
        """The nearest codes.

        Args:
            values: Any shape, already divided by their scales.

        Returns:
            Codes of type ``dtype`` in the same shape.

        Raises:
            ConfpressError: A value is infinite or NaN.
        """
        if not np.isfinite(values).all():
            raise ConfpressError(f"infinities and NaN have no code in the format {self.name}.")
        return self._nearest(values).astype(self.dtype)

    def decode(self, codes: Codes) -> Floats:
        """The values of codes, float32 in the same shape."""
        return codes.astype(np.float32)

    def round(self, values: Floats) -> Floats:
        """``decode(encode(values))`` for values that are known to be finite."""
        nearest = self._nearest(values)
        return nearest if self.integer else nearest.astype(self.dtype).astype(np.float32)

    def codes(self) -> Codes:
        """Every code, in the order of its bits."""
        return np.arange(1 << self.bits, dtype=np.uint8).view(self.dtype)

    def _nearest(self, values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[Any]:
        rounded = np.rint(values) if self.integer else values
        nearest: npt.NDArray[Any] = np.clip(rounded, self.lowest, self.highest)
        return nearest

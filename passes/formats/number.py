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

#: How float32 stores its exponent.
_MANTISSA = 23
_BIAS = 127
_EXPONENT = np.int32(0x7F800000)


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
        mantissa: Bits of a float's mantissa; 0 for integers.
        exponent: The power of two of a float's least normal value.
    """

    name: str
    bits: int
    dtype: npt.DTypeLike
    lowest: float
    highest: float
    top: float
    integer: bool
    mantissa: int = 0
    exponent: int = 0

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
        nearest: Floats = self._nearest(values)
        if self.integer:
            return nearest
        # The distance of neighbours is the power of two of the value, or of the least normal one,
        # less the mantissa's bits; all read off float32's own exponent, as a cast is slow.
        own = np.asarray(nearest, np.float32).view(np.int32) & _EXPONENT
        least = np.maximum(own, np.int32((_BIAS + self.exponent) << _MANTISSA))
        step = (least - np.int32(self.mantissa << _MANTISSA)).view(np.float32)
        rounded: Floats = np.rint(nearest / step) * step
        return rounded

    def codes(self) -> Codes:
        """Every code, in the order of its bits."""
        return np.arange(1 << self.bits, dtype=np.uint8).view(self.dtype)

    def _nearest(self, values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[Any]:
        rounded = np.rint(values) if self.integer else values
        nearest: npt.NDArray[Any] = np.clip(rounded, self.lowest, self.highest)
        return nearest

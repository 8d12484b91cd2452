"""How a matrix is quantised: the format, what shares a scale, and how scales are found."""

from __future__ import annotations

import dataclasses
from typing import Literal

from ..errors import ConfpressError
from .number import NumberFormat
from .scale_types import SCALE_BYTES, ScaleType

#: `maximum`: the largest magnitude is the largest code. `clip`: of several parts of it, the one
#: with the least squared error. `mse`: the same, then least squares in turn with rounding.
ScaleMethod = Literal["maximum", "clip", "mse"]
Granularity = Literal["tensor", "channel", "block"]

#: Block sizes along the reduction axis; the last block of a column may be shorter.
BLOCK_SIZES = (16, 32, 64, 128)


@dataclasses.dataclass(frozen=True)
class Scheme:
    """How to quantise a matrix [K, N] whose rows are summed over.

    Attributes:
        number: The format of the codes.
        granularity: One scale for the ``tensor``, one a ``channel`` (column), or one a ``block`` of
            ``block`` rows of a column.
        block: Rows that share a scale where the granularity is ``block``.
        zero_point: Whether groups have a zero point of their own; integers only.
        method: How scales are found.
        scale_type: How scales are stored.
    """

    number: NumberFormat
    granularity: Granularity = "channel"
    block: int = 0
    zero_point: bool = False
    method: ScaleMethod = "maximum"
    scale_type: ScaleType = "float32"

    def __post_init__(self) -> None:
        if (self.granularity == "block") != (self.block in BLOCK_SIZES):
            raise ConfpressError(
                f"a block of {self.block} rows does not go with scales per {self.granularity}; "
                f"scales per block need one of {', '.join(map(str, BLOCK_SIZES))} rows, others 0."
            )
        if self.zero_point and not self.number.integer:
            raise ConfpressError(f"{self.number.name} is a float format: it has no zero points.")

    def rows(self, k: int) -> int:
        """Rows of a group of a matrix with ``k`` rows."""
        return self.block if self.granularity == "block" else max(k, 1)

    def stored_bytes(self, k: int, n: int) -> int:
        """Bytes of codes, scales and zero points of a matrix [k, n]."""
        groups = 1 if self.granularity == "tensor" else n * -(-k // self.rows(k))
        codes = -(-k * n * self.number.bits // 8)
        points = -(-groups * self.number.bits // 8) if self.has_points else 0
        return codes + groups * SCALE_BYTES[self.scale_type] + points

    @property
    def has_points(self) -> bool:
        """Whether zero points are stored: unsigned codes need one even where it is constant."""
        return self.zero_point or not self.number.signed

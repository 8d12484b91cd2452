"""The operators QuantLinear4Bit and QuantLinear2Bit: Y = activation(X Wᵀ + b), W of 4 or 2 bits.

A weight is ``values[code] · scale``: a code of 4 (2) bits names one of 16 (4) small integers, and
a block of columns of one row has one scale. The integers say what the format is: -8..7 is int4; the
doubled values of E2M1 (0, 1, 2, 3, 4, 6, 8, 12 and their negatives) with halved scales are FP4; so
all formats cost the same. X is quantised frame by frame as for :mod:`.quantlinear`, and like there
each operator is a model-local function: kernels differ from its body only by the rounding of float
sums, below 1e-6 of the largest output.

=========== ========= ====================================== ===================================
input       type      shape                                  meaning
=========== ========= ====================================== ===================================
X           float32   [..., K]                               any number of frames, also none
W           uint8     [ceil(N / 16), ceil(K / 4 p), 16, 4]   p = 8 / bits codes a byte, the first
                                                             in the lowest bits: part j of
                                                             W[s, g, r, i] is row 16 s + r,
                                                             column 4 (p g + j) + i
scales      float32   [ceil(N / 16), ceil(K / block), 16]    scales[s, b, r]: block b of row
                                                             16 s + r
bias        float32   [N]                                    zeros where a layer has none
=========== ========= ====================================== ===================================

Attributes: ``shape`` is [N, K]; ``block`` is [16], [32], [64] or [128]; ``values`` are the 16 or 4
integers, within 127 of zero and 32 of each other (a bound that lets AVX2 add products in int16).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..errors import ConfpressError
from .activated import operator
from .quantlinear import GROUP, STRIP, frame_function, frame_node

#: Columns that share a scale.
BLOCKS: Final = (16, 32, 64, 128)
#: The largest magnitude of a value and the largest difference of two.
MOST_MAGNITUDE: Final = 127
MOST_SPAN: Final = 32


@dataclasses.dataclass(frozen=True)
class LowBitFormat:
    """How codes become numbers: ``values[code] · scale``.

    Attributes:
        name: What reports call it.
        values: One integer for each code; 16 or 4 of them.
        unit: A weight of the format whose scale is 1 is a multiple of this, and ``values`` are
            those multiples.
    """

    name: str
    values: tuple[int, ...]
    unit: float = 1.0

    def __post_init__(self) -> None:
        span = max(self.values, default=0) - min(self.values, default=0)
        if (
            len(self.values) not in (4, 16)
            or max(map(abs, self.values)) > MOST_MAGNITUDE
            or span > MOST_SPAN
        ):
            raise ConfpressError(
                f"the format {self.name} needs 4 or 16 integers within {MOST_MAGNITUDE} of zero "
                f"and {MOST_SPAN} of each other, not {list(self.values)}."
            )

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return 4 if len(self.values) == 16 else 2


_E2M1: Final = (0, 1, 2, 3, 4, 6, 8, 12)
#: Codes are ONNX's: two's complement, and sign and magnitude for FP4.
INT4: Final = LowBitFormat("int4", (*range(8), *range(-8, 0)))
UINT4: Final = LowBitFormat("uint4", tuple(range(16)))
FP4: Final = LowBitFormat("fp4", _E2M1 + tuple(-value for value in _E2M1), unit=0.5)
INT2: Final = LowBitFormat("int2", (0, 1, -2, -1))

# The bytes' parts become rows of their own, so that after the transposition the first three axes
# are the columns and the last two the rows of the matrix.
_BODY: Final = """
  bytes = Cast <to = 6> (W)
  part_axis = Constant <value_ints = [2]> ()
  repeated = Unsqueeze (bytes, part_axis)
  divisors = Constant <value = int32[{parts},1,1] {{{divisors}}}> ()
  shifted = Div (repeated, divisors)
  base = Constant <value = int32 {{{base}}}> ()
  codes = Mod (shifted, base)
  columns_first = Transpose <perm = [1, 2, 4, 0, 3]> (codes)
  code_matrix = Flatten <axis = 3> (columns_first)
  value_ints = Constant <value_ints: ints = @values> ()
  value_table = Cast <to = 1> (value_ints)
  value_matrix = Gather (value_table, code_matrix)
  starts = Constant <value_ints = [0, 0]> ()
  ends = Constant <value_ints: ints = @shape> ()
  rows_last = Constant <value_ints = [1, 0]> ()
  v = Slice (value_matrix, starts, ends, rows_last)
  blocks_first = Transpose <perm = [1, 0, 2]> (scales)
  block_matrix = Flatten <axis = 1> (blocks_first)
  one = Constant <value_ints = [1]> ()
  block_rows = Unsqueeze (block_matrix, one)
  block = Constant <value_ints: ints = @block> ()
  repeats = Concat <axis = 0> (one, block, one)
  tiled = Tile (block_rows, repeats)
  scale_axis = Transpose <perm = [2, 0, 1]> (tiled)
  scale_rows = Flatten <axis = 1> (scale_axis)
  scale_matrix = Transpose <perm = [1, 0]> (scale_rows)
  w_scales = Slice (scale_matrix, starts, ends, rows_last)
  w = Mul (v, w_scales)
  products = MatMul (q, w)
  per_frame = Mul (products, s)
  Z = Add (per_frame, bias)
"""

#: The operators without an activation.
FAMILIES: Final = ("QuantLinear4Bit", "QuantLinear2Bit")


def pack_codes(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Packs codes of shape [N, K] into the operators' layout.

    Args:
        codes: uint8 below 2^bits, one row per output channel.
        bits: 4 or 2.

    Returns:
        uint8 of shape [ceil(N / 16), ceil(K / (32 / bits)), 16, 4], padded with zeros.

    Raises:
        ConfpressError: The codes are not a non-empty uint8 matrix, or too large.
    """
    if codes.ndim != 2 or codes.size == 0 or codes.dtype != np.uint8 or codes.max() >> bits:
        raise ConfpressError(
            f"QuantLinear{bits}Bit packs a non-empty uint8 matrix [N, K] of codes below "
            f"{1 << bits}, not {codes.dtype} of shape {list(codes.shape)}."
        )
    n, k = codes.shape
    strips, groups, _, _ = packed_shape(n, k, bits)
    parts = 8 // bits
    padded = np.zeros((strips * STRIP, groups * parts * GROUP), np.uint8)
    padded[:n, :k] = codes
    split = padded.reshape(strips, STRIP, groups, parts, GROUP)
    shifts = bits * np.arange(parts, dtype=np.uint8)[:, None]
    merged = np.bitwise_or.reduce(split << shifts, axis=3)
    return np.ascontiguousarray(merged.transpose(0, 2, 1, 3))


def unpack_codes(
    packed: npt.NDArray[np.uint8], shape: Sequence[int], bits: int
) -> npt.NDArray[np.uint8]:
    """The codes [N, K] that were packed; the inverse of :func:`pack_codes`.

    Args:
        packed: uint8 of the shape that :func:`packed_shape` gives.
        shape: [N, K].
        bits: 4 or 2.

    Raises:
        ConfpressError: The packed array does not have the layout of that shape.
    """
    n, k = shape
    expected = packed_shape(n, k, bits)
    if packed.shape != expected or packed.dtype != np.uint8:
        raise ConfpressError(
            f"packed codes of shape [{n}, {k}] are uint8 {list(expected)}, "
            f"not {packed.dtype} {list(packed.shape)}."
        )
    shifts = bits * np.arange(8 // bits, dtype=np.uint8)[:, None]
    split = (packed.transpose(0, 2, 1, 3)[:, :, :, None] >> shifts) & ((1 << bits) - 1)
    return np.ascontiguousarray(split.reshape(expected[0] * STRIP, -1)[:n, :k])


def pack_scales(scales: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Packs scales [N, blocks] into [ceil(N / 16), blocks, 16], padded with zeros."""
    n, blocks = scales.shape
    padded = np.pad(scales, ((0, -n % STRIP), (0, 0)))
    return np.ascontiguousarray(padded.reshape(-1, STRIP, blocks).transpose(0, 2, 1))


def packed_shape(n: int, k: int, bits: int) -> tuple[int, int, int, int]:
    """The shape of the packed codes of a layer with N outputs and K inputs."""
    return (-(-n // STRIP), -(-k // (GROUP * 8 // bits)), STRIP, GROUP)


def lowbit_function(bits: int, activation: str = "", *, opset: int = 17) -> ir.Function:
    """The function that defines the operator; it goes into every model that uses it.

    Args:
        bits: 4 or 2.
        activation: One of :data:`.activated.ACTIVATIONS`.
        opset: The model's version of the standard domain, at least 15.

    Raises:
        ConfpressError: Bits or activation are unknown, or the opset is too old.
    """
    parts, base = 8 // bits, 1 << bits
    body = _BODY.format(
        parts=parts, base=base, divisors=", ".join(str(base**part) for part in range(parts))
    )
    attributes = ["shape", "block", "values"]
    return frame_function(_family(bits), attributes, body, activation, opset)


def lowbit_node(
    x: ir.Value,
    weight: ir.Value,
    scales: ir.Value,
    bias: ir.Value,
    *,
    shape: Sequence[int],
    block: int,
    form: LowBitFormat,
    activation: str = "",
    name: str | None = None,
) -> ir.Node:
    """A node of the operator; the model also needs its function, :func:`lowbit_function`.

    Args:
        x: float32 [..., K].
        weight: An initializer made by :func:`pack_codes`.
        scales: An initializer made by :func:`pack_scales`, times the format's unit.
        bias: An initializer, float32 [N].
        shape: [N, K].
        block: Columns that share a scale.
        form: What the codes mean.
        activation: One of :data:`.activated.ACTIVATIONS`.
        name: The node's name.

    Raises:
        ConfpressError: The activation or the block is unknown.
    """
    if block not in BLOCKS:
        raise ConfpressError(f"a block has {', '.join(map(str, BLOCKS))} columns, not {block}.")
    attributes = [
        ir.AttrInt64s("shape", shape),
        ir.AttrInt64s("block", [block]),
        ir.AttrInt64s("values", form.values),
    ]
    op_type = operator(_family(form.bits), activation)
    return frame_node(op_type, [x, weight, scales, bias], attributes, name)


def _family(bits: int) -> str:
    if bits not in (2, 4):
        raise ConfpressError(f"low-bit layers have 4 or 2 bits, not {bits}.")
    return f"QuantLinear{bits}Bit"

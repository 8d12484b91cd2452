"""The operators SparseLinear: Y = activation(X Wᵀ + b), W int8 and sparse, the same in every block.

Each row of W has at most ``kept`` = 4, 8, 16 or 32 non-zeros in every block of 64 columns; these
are stored with their places, and nothing else is computed. Patterns N:M are blocks of 64 too (4:16
keeps 16 of 64), and faster where a table look-up reaches 16 bytes only (all processors but those
with AVX-512 VBMI): :func:`pack_sparse` orders them so that kernels find them. Scales are per output
channel and X is quantised frame by frame, as for :mod:`.quantlinear`; like there each operator is a
model-local function that the kernels equal bit for bit without an activation, as long as the body's
float accumulation is exact (K <= 1040).

=========== ========= ====================================== ===================================
input       type      shape                                  meaning
=========== ========= ====================================== ===================================
X           float32   [..., K]                               any number of frames, also none
W           int8      [ceil(N / 16), ceil(K / 64), kept / 4, W[s, b, j, r, i] stands in row
                      16, 4]                                 16 s + r, block b
columns     uint8     as W                                   its column in the block, 0..63;
                                                             none twice in a row's block, and
                                                             zeros in W where columns exceed K
scales      float32   [N]                                    of the weights' rows
bias        float32   [N]                                    zeros where a layer has none
=========== ========= ====================================== ===================================

The attribute ``shape`` is [N, K]; the activation is part of the name (SparseLinear,
SparseLinearSiLU).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..errors import ConfpressError
from .activated import operator
from .quantlinear import INT8_PRODUCT, STRIP, frame_function, frame_node

_Number = TypeVar("_Number", bound=np.generic)

#: The operator without an activation.
FAMILY: Final = "SparseLinear"
#: Columns of a block.
BLOCK: Final = 64
#: Columns that a table look-up in bytes reaches on most processors.
WINDOW: Final = 16
#: Non-zeros of a row that one slot of the layout holds.
SLOT: Final = 4
#: Non-zeros that a row may have in a block.
KEPT: Final = (4, 8, 16, 32)
#: Columns over which a pattern may be balanced, the fastest first.
SPANS: Final = (16, 32, 64)

_BODY: Final = f"""
  w_rows_first = Transpose <perm = [0, 3, 1, 2, 4]> (W)
  w_flat = Flatten <axis = 3> (w_rows_first)
  updates = Cast <to = 1> (w_flat)
  column_rows_first = Transpose <perm = [0, 3, 1, 2, 4]> (columns)
  column_flat = Flatten <axis = 3> (column_rows_first)
  indices = Cast <to = 7> (column_flat)
  row_blocks = Shape <end = 1> (indices)
  width = Constant <value_ints = [{BLOCK}]> ()
  dense_shape = Concat <axis = 0> (row_blocks, width)
  zeros = ConstantOfShape (dense_shape)
  dense = ScatterElements <axis = 1> (zeros, indices, updates)
  strips = Shape <end = 1> (W)
  strip_rows = Constant <value_ints = [{STRIP}]> ()
  rows = Mul (strips, strip_rows)
  rest = Constant <value_ints = [-1]> ()
  padded_shape = Concat <axis = 0> (rows, rest)
  padded = Reshape (dense, padded_shape)
{INT8_PRODUCT}"""


@dataclasses.dataclass(frozen=True)
class Pattern:
    """``kept`` of 64 columns in every row, evenly over spans of ``span`` columns."""

    kept: int
    span: int

    def look_ups(self, reach: int = WINDOW) -> int:
        """Look-ups per block of 16 rows and 64 columns: the cost.

        In windows of 16 bytes a slot of four non-zeros of one window takes one; two slots of 2:16
        take three with their blends; any other slot asks all four windows.

        Args:
            reach: Bytes that a look-up reaches: BLOCK with AVX-512 VBMI, else WINDOW.
        """
        if reach == BLOCK:
            return self.kept // SLOT
        if self.span > WINDOW or self.kept < 8:
            return self.kept
        return self.kept // SLOT if self.kept > 8 else 3

    @property
    def share(self) -> int:
        """Columns kept of a span."""
        return self.kept * self.span // BLOCK

    def __str__(self) -> str:
        return f"{self.share}:{self.span}"


_PATTERNS: Final = tuple(
    Pattern(kept, span) for kept in KEPT for span in SPANS if kept * span >= BLOCK
)
#: Look-ups per block at which SparseLinear is as fast as the dense QuantLinear (docs/kernels.md).
BREAK_EVEN: Final = 8


def pattern_of(weight: npt.NDArray[np.generic], reach: int = WINDOW) -> Pattern | None:
    """The fastest pattern that a weight fits, or None where half of a block is too few.

    Args:
        weight: [N, K].
        reach: Bytes that a look-up reaches, as for :meth:`Pattern.look_ups`.
    """
    nonzero = np.asarray(weight) != 0
    most = {span: int(in_spans(nonzero, span).sum(axis=2).max(initial=0)) for span in SPANS}
    return min(
        (each for each in _PATTERNS if most[each.span] <= each.share),
        key=lambda pattern: (pattern.look_ups(reach), pattern.kept),
        default=None,
    )


#: Microseconds of a layer of shape [N, K] by (N, K, form); a form is a pattern's name or DENSE,
#: behind what else tells layers apart.
Costs = Mapping[tuple[int, int, str], float]
DENSE: Final = "dense"


def is_faster(
    pattern: Pattern,
    shape: Sequence[int] = (),
    costs: Costs | None = None,
    reach: int = WINDOW,
    prefix: str = "",
) -> bool:
    """Whether SparseLinear beats the dense QuantLinear, and SparseConv2d QuantConv2d.

    Args:
        pattern: What the weight fits.
        shape: [N, K].
        costs: Measured times; what they do not tell is decided by the pattern's look-ups.
        reach: Bytes that a look-up reaches, as for :meth:`Pattern.look_ups`.
        prefix: What stands in front of the forms of such layers.
    """
    n, k = shape or (0, 0)
    forms = (f"{prefix}{form}" for form in (pattern, DENSE))
    sparse, dense = ((costs or {}).get((n, k, form)) for form in forms)
    if sparse is None or dense is None:
        return pattern.look_ups(reach) < BREAK_EVEN
    return sparse < dense


def pack_sparse(
    weight: npt.NDArray[np.int8], pattern: Pattern
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.uint8]]:
    """Packs a weight of shape [N, K] into the operator's layout.

    Args:
        weight: int8 codes, one row per output channel.
        pattern: What the weight fits, such as :func:`pattern_of` finds it.

    Returns:
        W and columns, both of shape [ceil(N / 16), ceil(K / 64), kept / 4, 16, 4].

    Raises:
        ConfpressError: The weight is not a non-empty int8 matrix, or does not fit the pattern.
    """
    if weight.ndim != 2 or weight.size == 0 or weight.dtype != np.int8:
        raise ConfpressError(
            f"SparseLinear packs a non-empty int8 matrix [N, K], "
            f"not {weight.dtype} of shape {list(weight.shape)}."
        )
    whole = np.pad(weight, ((0, -weight.shape[0] % STRIP), (0, -weight.shape[1] % BLOCK)))
    spans = in_spans(whole, pattern.span)
    if np.count_nonzero(spans, axis=2).max() > pattern.share:
        raise ConfpressError(f"the weight has more non-zeros than the pattern {pattern} keeps.")
    # The non-zeros first, then zeros that fill the places: all in the order of their columns.
    chosen = np.sort(np.argsort(spans == 0, axis=2, kind="stable")[:, :, : pattern.share], axis=2)
    values = np.take_along_axis(spans, chosen, axis=2)
    first = np.arange(spans.shape[1]) * pattern.span % BLOCK
    columns = (chosen + first[:, None]).astype(np.uint8)
    by_block = (len(spans) // STRIP, -1, pattern.kept // SLOT, STRIP, SLOT)
    packed = in_strips(values.reshape(len(spans), -1))
    places = in_strips(columns.reshape(len(spans), -1))
    return packed.reshape(by_block), places.reshape(by_block)


def in_spans(matrix: npt.NDArray[_Number], span: int = BLOCK) -> npt.NDArray[_Number]:
    """The matrix [N, K] as [N, ceil(K / span), span], zeros beyond its columns."""
    padded = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % span)))
    return padded.reshape(len(padded), -1, span)


def in_strips(rows: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """[strips * 16, slots * 4] as [strips, slots, 16, 4]."""
    split = rows.reshape(-1, STRIP, rows.shape[1] // SLOT, SLOT)
    return np.ascontiguousarray(split.transpose(0, 2, 1, 3))


def unpack_sparse(
    packed: npt.NDArray[np.int8], columns: npt.NDArray[np.uint8], shape: Sequence[int]
) -> npt.NDArray[np.int8]:
    """The weight [N, K] that was packed; the inverse of :func:`pack_sparse`.

    Args:
        packed: int8 of shape [ceil(N / 16), ceil(K / 64), kept / 4, 16, 4].
        columns: uint8 of the same shape.
        shape: [N, K].

    Raises:
        ConfpressError: The packed arrays do not have the layout of that shape.
    """
    n, k = shape
    strips, blocks = -(-n // STRIP), -(-k // BLOCK)
    if packed.shape != columns.shape or packed.shape[:2] + packed.shape[3:] != (
        strips,
        blocks,
        STRIP,
        SLOT,
    ):
        raise ConfpressError(
            f"a packed sparse weight of shape [{n}, {k}] is [{strips}, {blocks}, kept / 4, "
            f"{STRIP}, {SLOT}], not {list(packed.shape)} with columns {list(columns.shape)}."
        )
    order = (0, 3, 1, 2, 4)
    flat = (strips * STRIP, blocks, -1)
    dense = np.zeros((strips * STRIP, blocks, BLOCK), np.int8)
    indices = columns.transpose(order).reshape(flat).astype(np.int64)
    np.put_along_axis(dense, indices, packed.transpose(order).reshape(flat), axis=2)
    return np.ascontiguousarray(dense.reshape(strips * STRIP, -1)[:n, :k])


def sparse_function(activation: str = "", *, opset: int = 17) -> ir.Function:
    """The function that defines the operator; it goes into every model that uses it.

    Args:
        activation: One of :data:`.activated.ACTIVATIONS`.
        opset: The model's version of the standard domain, at least 15.

    Raises:
        ConfpressError: The activation is unknown or the opset too old.
    """
    return frame_function(FAMILY, ["shape"], _BODY, activation, opset, ("W", "columns"))


def sparse_node(
    x: ir.Value,
    weight: ir.Value,
    columns: ir.Value,
    scales: ir.Value,
    bias: ir.Value,
    *,
    shape: Sequence[int],
    activation: str = "",
    name: str | None = None,
) -> ir.Node:
    """A node of the operator; the model also needs its function, :func:`sparse_function`.

    Args:
        x: float32 [..., K].
        weight: An initializer made by :func:`pack_sparse`.
        columns: An initializer made by :func:`pack_sparse`.
        scales: An initializer, float32 [N].
        bias: An initializer, float32 [N].
        shape: [N, K].
        activation: One of :data:`.activated.ACTIVATIONS`.
        name: The node's name.

    Raises:
        ConfpressError: The activation is unknown.
    """
    inputs = [x, weight, columns, scales, bias]
    return frame_node(operator(FAMILY, activation), inputs, [ir.AttrInt64s("shape", shape)], name)

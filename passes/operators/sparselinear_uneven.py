"""The operators SparseLinearUneven: SparseLinear whose blocks keep different numbers of weights.

Inputs do not matter alike, so a layer loses less where its weights stand with the inputs that
matter: some columns keep many weights, others few or none. The number is the same in all rows, so
that kernels multiply what they are given at the speed of :mod:`.sparselinear`. A strip of 16 rows
has ``S`` slots of four non-zeros a row, each of them in one block of 64 columns; a block may have
any number of slots up to 16. Kernels are faster where the columns of a slot lie in one window of
16, which :func:`pack_uneven` arranges for.

=========== ========= ============================ =============================================
input       type      shape                        meaning
=========== ========= ============================ =============================================
X           float32   [..., K]                     any number of frames, also none
W           int8      [ceil(N / 16), S, 16, 4]     W[s, j, r, i] stands in row 16 s + r
columns     uint8     as W                         its column in the block of slot j, 0..63; none
                                                   twice in a row's block, and zeros in W where
                                                   columns exceed K
blocks      int32     [S]                          the block of each slot, ascending
scales      float32   [N]                          of the weights' rows
bias        float32   [N]                          zeros where a layer has none
=========== ========= ============================ =============================================

The attribute ``shape`` is [N, K]; the activation is part of the name (:mod:`.activated`). Scales,
the quantisation of X and how exact the kernels are: as for SparseLinear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..errors import ConfpressError
from .activated import operator
from .quantlinear import INT8_PRODUCT, STRIP, frame_function, frame_node
from .sparselinear import BLOCK, SLOT, WINDOW, in_spans, in_strips

#: The operator without an activation.
FAMILY: Final = "SparseLinearUneven"

# Places that no weight takes may lie beyond K, in its last block: the matrix is as wide, and cut.
_BODY: Final = f"""
  w_rows_first = Transpose <perm = [0, 2, 1, 3]> (W)
  w_flat = Flatten <axis = 2> (w_rows_first)
  updates = Cast <to = 1> (w_flat)
  in_block = Cast <to = 7> (columns)
  block_numbers = Cast <to = 7> (blocks)
  width = Constant <value_ints = [{BLOCK}]> ()
  firsts = Mul (block_numbers, width)
  along_slots = Constant <value_ints = [-1, 1, 1]> ()
  first_columns = Reshape (firsts, along_slots)
  places = Add (in_block, first_columns)
  places_rows_first = Transpose <perm = [0, 2, 1, 3]> (places)
  indices = Flatten <axis = 2> (places_rows_first)
  least_shape = Constant <value_ints: ints = @shape> ()
  room = Constant <value_ints = [{STRIP - 1}, {BLOCK - 1}]> ()
  dense_shape = Add (least_shape, room)
  zeros = ConstantOfShape (dense_shape)
  padded = ScatterElements <axis = 1> (zeros, indices, updates)
{INT8_PRODUCT}"""


class UnevenWeight(NamedTuple):
    """A weight in the operator's layout: its inputs W, columns and blocks."""

    packed: npt.NDArray[np.int8]
    columns: npt.NDArray[np.uint8]
    blocks: npt.NDArray[np.int32]


def slots_of(weight: npt.NDArray[np.generic], span: int = WINDOW) -> npt.NDArray[np.int64]:
    """Slots that a weight [N, K] needs in every span of columns, [ceil(K / span)].

    Args:
        weight: Any numbers.
        span: Columns among which a slot's four lie: WINDOW or BLOCK.
    """
    most = np.count_nonzero(in_spans(weight, span), axis=2).max(axis=0, initial=0)
    return np.asarray(-(-most // SLOT))


def look_ups_of(weight: npt.NDArray[np.generic], reach: int = WINDOW) -> float:
    """Look-ups per 16 rows and 64 columns, which compare with :meth:`.sparselinear.Pattern`'s.

    Args:
        weight: [N, K].
        reach: Bytes that a look-up reaches: BLOCK with AVX-512 VBMI, else WINDOW.
    """
    return float(slots_of(weight, reach).sum() * BLOCK / weight.shape[1])


def pack_uneven(weight: npt.NDArray[np.int8], span: int = WINDOW) -> UnevenWeight:
    """Packs a weight of shape [N, K] into the operator's layout.

    Args:
        weight: int8 codes, one row per output channel.
        span: Columns among which a slot's four lie: WINDOW or BLOCK.

    Raises:
        ConfpressError: The weight is not a non-empty int8 matrix.
    """
    if weight.ndim != 2 or weight.size == 0 or weight.dtype != np.int8:
        raise ConfpressError(
            f"{FAMILY} packs a non-empty int8 matrix [N, K], "
            f"not {weight.dtype} of shape {list(weight.shape)}."
        )
    spans = in_spans(np.pad(weight, ((0, -len(weight) % STRIP), (0, 0))), span)
    slots = slots_of(weight, span)
    if not slots.any():
        slots[0] = 1  # a layer has one at least
    # The non-zeros first, then zeros that fill the places: all in the order of their columns.
    order = np.argsort(spans == 0, axis=2, kind="stable")
    chosen = [np.sort(order[:, i, : SLOT * count], axis=1) for i, count in enumerate(slots)]
    values = [np.take_along_axis(spans[:, i], each, axis=1) for i, each in enumerate(chosen)]
    columns = [each + i * span % BLOCK for i, each in enumerate(chosen)]
    blocks = np.repeat(np.arange(len(slots)) * span // BLOCK, slots)
    return UnevenWeight(
        in_strips(np.concatenate(values, axis=1)),
        in_strips(np.concatenate(columns, axis=1).astype(np.uint8)),
        blocks.astype(np.int32),
    )


def uneven_function(activation: str = "", *, opset: int = 17) -> ir.Function:
    """The function that defines the operator; it goes into every model that uses it.

    Args:
        activation: One of :data:`.activated.ACTIVATIONS`.
        opset: The model's version of the standard domain, at least 15.

    Raises:
        ConfpressError: The activation is unknown or the opset too old.
    """
    inputs = ("W", "columns", "blocks")
    return frame_function(FAMILY, ["shape"], _BODY, activation, opset, inputs)


def uneven_node(
    x: ir.Value,
    weight: ir.Value,
    columns: ir.Value,
    blocks: ir.Value,
    scales: ir.Value,
    bias: ir.Value,
    *,
    shape: Sequence[int],
    activation: str = "",
    name: str | None = None,
) -> ir.Node:
    """A node of the operator; the model also needs its function, :func:`uneven_function`.

    Args:
        x: float32 [..., K].
        weight: An initializer made by :func:`pack_uneven`.
        columns: An initializer made by :func:`pack_uneven`.
        blocks: An initializer made by :func:`pack_uneven`.
        scales: An initializer, float32 [N].
        bias: An initializer, float32 [N].
        shape: [N, K].
        activation: One of :data:`.activated.ACTIVATIONS`.
        name: The node's name.

    Raises:
        ConfpressError: The activation is unknown.
    """
    inputs = [x, weight, columns, blocks, scales, bias]
    return frame_node(operator(FAMILY, activation), inputs, [ir.AttrInt64s("shape", shape)], name)

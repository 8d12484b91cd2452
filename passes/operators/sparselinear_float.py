"""The operators SparseLinearFloat: Y = activation(X Wᵀ + b) with sparse weights that are floats.

Each row of W has at most ``kept`` non-zeros in every block of 64 columns, wherever they stand;
these are stored with their columns, and nothing else is computed. Nothing is quantised: weights in
bfloat16 are widened, and products and sums are float32 whatever W is. Like the other operators each
is a model-local function; kernels differ from its body by the rounding of float sums alone, where X
is finite (the body multiplies zeros, and 0 · ∞ is NaN).

=========== ========= ============================ =============================================
input       type      shape                        meaning
=========== ========= ============================ =============================================
X           float32   [..., K]                     any number of frames, also none
W           float32,  [ceil(K / 64), N, kept]      W[b, n, j] stands in row n, block b
            bfloat16
columns     uint8     as W                         its column in the block, 0..63; none twice in
                                                   a row's block, and zeros in W where columns
                                                   exceed K
bias        float32   [N]                          zeros where a layer has none
=========== ========= ============================ =============================================

The attribute ``shape`` is [N, K]; the activation is part of the name (:mod:`.activated`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..errors import ConfpressError
from .activated import ACTIVATED, operator
from .functions import function_of
from .quantlinear import DOMAIN, OUTPUT, frame_node
from .sparselinear import BLOCK, in_spans

#: The operator without an activation.
FAMILY: Final = "SparseLinearFloat"
#: Non-zeros in a block of 64 up to which the operator is faster than the dense product
#: (docs/kernels.md).
BREAK_EVEN: Final = 16
#: What W may be stored in.
WEIGHT_TYPES: Final = (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16))

_Float = TypeVar("_Float", bound=np.generic)

#: From X, W and columns to Z [frames, N], in float32.
BODY: Final = f"""
  floats = Cast <to = 1> (W)
  updates = Flatten <axis = 2> (floats)
  column_rows = Flatten <axis = 2> (columns)
  indices = Cast <to = 7> (column_rows)
  row_blocks = Shape <end = 1> (indices)
  width = Constant <value_ints = [{BLOCK}]> ()
  dense_shape = Concat <axis = 0> (row_blocks, width)
  zeros = ConstantOfShape (dense_shape)
  dense = ScatterElements <axis = 1> (zeros, indices, updates)
  rows = Shape <end = 2> (W)
  split_shape = Concat <axis = 0> (rows, width)
  split = Reshape (dense, split_shape)
  rows_last = Transpose <perm = [0, 2, 1]> (split)
  padded = Flatten <axis = 2> (rows_last)
  starts = Constant <value_ints = [0, 0]> ()
  ends = Constant <value_ints: ints = @shape> ()
  turned = Constant <value_ints = [1, 0]> ()
  w = Slice (padded, starts, ends, turned)
  frames = Flatten <axis = -1> (X)
  products = MatMul (frames, w)
  Z = Add (products, bias)
"""


def kept_of(weight: npt.NDArray[np.generic]) -> int:
    """The most non-zeros that a row of W [N, K] has in a block of 64 columns."""
    return int(np.count_nonzero(in_spans(weight), axis=2).max(initial=0))


def pack_sparse_float(
    weight: npt.NDArray[_Float],
) -> tuple[npt.NDArray[_Float], npt.NDArray[np.uint8]]:
    """Packs a weight of shape [N, K] into the operator's layout.

    Args:
        weight: float32 or bfloat16, one row per output channel.

    Returns:
        W and columns, both of shape [ceil(K / 64), N, kept].

    Raises:
        ConfpressError: The weight is not a non-empty matrix of one of these types.
    """
    if weight.ndim != 2 or weight.size == 0 or weight.dtype not in WEIGHT_TYPES:
        raise ConfpressError(
            f"{FAMILY} packs a non-empty matrix [N, K] of float32 or bfloat16, "
            f"not {weight.dtype} of shape {list(weight.shape)}."
        )
    kept = max(1, kept_of(weight))
    blocks = in_spans(weight)
    # The non-zeros first, then zeros that fill the places: all in the order of their columns.
    columns = np.sort(np.argsort(blocks == 0, axis=2, kind="stable")[:, :, :kept], axis=2)
    values = np.take_along_axis(blocks, columns, axis=2)
    order = (1, 0, 2)
    return (
        np.ascontiguousarray(values.transpose(order)),
        np.ascontiguousarray(columns.transpose(order).astype(np.uint8)),
    )


def sparse_float_function(activation: str = "", *, opset: int = 17) -> ir.Function:
    """The function that defines the operator; it goes into every model that uses it.

    Args:
        activation: One of :data:`.activated.ACTIVATIONS`.
        opset: The model's version of the standard domain, at least 15.

    Raises:
        ConfpressError: The activation is unknown or the opset too old.
    """
    op_type = operator(FAMILY, activation)
    text = (
        f'<domain: "{DOMAIN}", opset_import: ["": {opset}]>\n'
        f"{op_type} <shape> (X, W, columns, bias) => (Y)\n"
        f"{{{BODY}{OUTPUT.format(activation=ACTIVATED[activation][1])}}}"
    )
    return function_of(text, op_type, opset)


def sparse_float_node(
    x: ir.Value,
    weight: ir.Value,
    columns: ir.Value,
    bias: ir.Value,
    *,
    shape: Sequence[int],
    activation: str = "",
    name: str | None = None,
) -> ir.Node:
    """A node of the operator; the model also needs its function, :func:`sparse_float_function`.

    Args:
        x: float32 [..., K].
        weight: An initializer made by :func:`pack_sparse_float`.
        columns: An initializer made by :func:`pack_sparse_float`.
        bias: An initializer, float32 [N].
        shape: [N, K].
        activation: One of :data:`.activated.ACTIVATIONS`.
        name: The node's name.

    Raises:
        ConfpressError: The activation is unknown.
    """
    inputs = [x, weight, columns, bias]
    return frame_node(operator(FAMILY, activation), inputs, [ir.AttrInt64s("shape", shape)], name)

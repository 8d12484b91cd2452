"""The operators SparseLinearHalf: :mod:`.sparselinear_float` with X, W and Y in float16.

For GPUs, where float16 halves what is read. Sums, bias and activation are float32, and Y is rounded
once; kernels differ from the body by the order and the rounding of float32 sums alone. The CPU has
no kernel for them and runs the body. Weights of which every four neighbouring columns keep two go
to sparse tensor cores where the GPU has them (docs/cuda.md).

=========== ========= ============================ =============================================
input       type      shape                        meaning
=========== ========= ============================ =============================================
X           float16   [..., K]                     any number of frames, also none
W           float16   [ceil(K / 64), N, kept]      as of SparseLinearFloat
columns     uint8     as W                         as of SparseLinearFloat
bias        float32   [N]                          zeros where a layer has none
=========== ========= ============================ =============================================

The attribute ``shape`` is [N, K]; the activation is part of the name (:mod:`.activated`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .activated import ACTIVATED, operator
from .functions import function_of
from .quantlinear import DOMAIN, OUTPUT, frame_node
from .sparselinear import in_spans
from .sparselinear_float import BODY, pack_sparse_float

#: The operator without an activation.
FAMILY: Final = "SparseLinearHalf"


def is_two_of_four(weight: npt.NDArray[np.generic]) -> bool:
    """Whether every row of a weight [N, K] has at most two non-zeros in every four columns."""
    return int(np.count_nonzero(in_spans(weight, 4), axis=2).max(initial=0)) <= 2


def pack_sparse_half(
    weight: npt.NDArray[np.float16],
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
    """Packs a weight of shape [N, K] into the operator's layout.

    Args:
        weight: float16, one row per output channel.

    Returns:
        W and columns, both of shape [ceil(K / 64), N, kept].

    Raises:
        ConfpressError: The weight is not a non-empty matrix.
    """
    values, columns = pack_sparse_float(weight.astype(np.float32))
    return values.astype(np.float16), columns


def sparse_half_function(activation: str = "", *, opset: int = 17) -> ir.Function:
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
        f"{op_type} <shape> (X_half, W_half, columns, bias) => (Y_half)\n"
        "{ X = Cast <to = 1> (X_half) W = Cast <to = 1> (W_half)\n"
        f"{BODY}{OUTPUT.format(activation=ACTIVATED[activation][1])}"
        " Y_half = Cast <to = 10> (Y) }"
    )
    return function_of(text, op_type, opset)


def sparse_half_node(
    x: ir.Value,
    weight: ir.Value,
    columns: ir.Value,
    bias: ir.Value,
    *,
    shape: Sequence[int],
    activation: str = "",
    name: str | None = None,
) -> ir.Node:
    """A node of the operator; the model also needs its function, :func:`sparse_half_function`.

    Args:
        x: float16 [..., K].
        weight: An initializer made by :func:`pack_sparse_half`.
        columns: An initializer made by :func:`pack_sparse_half`.
        bias: An initializer, float32 [N].
        shape: [N, K].
        activation: One of :data:`.activated.ACTIVATIONS`.
        name: The node's name.

    Raises:
        ConfpressError: The activation is unknown.
    """
    inputs = [x, weight, columns, bias]
    node = frame_node(operator(FAMILY, activation), inputs, [ir.AttrInt64s("shape", shape)], name)
    node.outputs[0].dtype = ir.DataType.FLOAT16
    return node

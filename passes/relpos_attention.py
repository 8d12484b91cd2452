"""The operator RelPosAttention: attention with relative positions, from projections to context.

Transformer-XL's attention (Dai et al. 2019) as Conformers use it. With i a query, j a key and the
distance between them counted from Tq - 1 (the first query's last key) down,

    score[i, j] = ((q_i + u) · k_j + (q_i + w) · p_{Tq - 1 - i + j}) · scale

then a mask, the Softmax over the keys and the average of the values. The projections are read where
they lie, also as columns of one packed [q; k; v]; no scores of all frames, no shifted copies and no
transposed layouts exist. The operator is a model-local function: its body below is its meaning.

======== ========= ============================ ================================================
input    type      shape                        meaning
======== ========= ============================ ================================================
Q        float32   [B, Tq, features]            queries are H · dh columns from columns[0] on
K        float32   [B, Tk, features]            keys, from columns[1] on; may be the same as Q
V        float32   [B, Tk, features]            values, from columns[2] on; may be the same as Q
P        float32   [B or 1, Tq + Tk - 1,        projected positions, from columns[3] on
                   features]
bias_u   float32   [H, dh]                      added to the queries that meet keys
bias_v   float32   [H, dh]                      added to the queries that meet positions
mask     bool      [B or 1, 1, Tq or 1, Tk or   true where a key does not count;
                   1]                           [[[[false]]]] where all count
======== ========= ============================ ================================================

Attributes: ``shape`` is [H, dh], ``columns`` the four first columns, ``scale`` a float. A query
without any key gets zeros where the float ``uniform`` is 0; where it is 1 it gets the average of
all values, which is what a Softmax of equal scores leaves.

A masked key's weight is exactly zero. Models that mask by adding or writing a large negative number
agree with that wherever the other scores are ordinary numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

from .errors import ConfpressError
from .functions import function_of
from .quantlinear import DOMAIN

OP_TYPE: Final = "RelPosAttention"
#: The kernels keep a block of queries in registers and near memory.
MOST_HEAD_SIZE: Final = 256

# The shift reads [Tq, Tq + Tk - 1] scores by distance as one flat row, from element Tq - 1 on in
# rows that are one shorter: row i then begins at its own first distance. A single query has a
# single row, which is not shorter than its keys.
_BODY: Final = """
<domain: "{domain}", opset_import: ["": {opset}]>
{op_type} <shape, columns, scale, uniform> (Q, K, V, P, bias_u, bias_v, mask) => (Y)
{{
  sizes = Constant <value_ints: ints = @shape> ()
  starts = Constant <value_ints: ints = @columns> ()
  first = Constant <value_ints = [0]> ()
  second = Constant <value_ints = [1]> ()
  third = Constant <value_ints = [2]> ()
  fourth = Constant <value_ints = [3]> ()
  kept = Constant <value_ints = [0, 0]> ()
  open = Constant <value_ints = [-1]> ()
  factor = Constant <value_float: float = @scale> ()
  lowest = Constant <value_float = -3.402823466e38> ()
  share = Constant <value_float: float = @uniform> ()
  width = ReduceProd <keepdims = 1> (sizes)
  by_head = Concat <axis = 0> (kept, sizes)

  q_start = Gather (starts, first)
  q_end = Add (q_start, width)
  q_columns = Slice (Q, q_start, q_end, third)
  q = Reshape (q_columns, by_head)
  k_start = Gather (starts, second)
  k_end = Add (k_start, width)
  k_columns = Slice (K, k_start, k_end, third)
  k = Reshape (k_columns, by_head)
  v_start = Gather (starts, third)
  v_end = Add (v_start, width)
  v_columns = Slice (V, v_start, v_end, third)
  v = Reshape (v_columns, by_head)
  p_start = Gather (starts, fourth)
  p_end = Add (p_start, width)
  p_columns = Slice (P, p_start, p_end, third)
  p = Reshape (p_columns, by_head)

  q_with_u = Add (q, bias_u)
  q_with_v = Add (q, bias_v)
  left = Transpose <perm = [0, 2, 1, 3]> (q_with_u)
  left_of_positions = Transpose <perm = [0, 2, 1, 3]> (q_with_v)
  keys = Transpose <perm = [0, 2, 3, 1]> (k)
  positions = Transpose <perm = [0, 2, 3, 1]> (p)
  values = Transpose <perm = [0, 2, 1, 3]> (v)
  content = MatMul (left, keys)
  by_distance = MatMul (left_of_positions, positions)

  queries = Shape <start = 1, end = 2> (Q)
  keys_count = Shape <start = 1, end = 2> (K)
  distances = Shape <start = 1, end = 2> (P)
  before = Sub (queries, second)
  shorter = Sub (distances, second)
  row = Max (shorter, keys_count)
  taken = Mul (queries, row)
  end = Add (before, taken)
  flat_shape = Concat <axis = 0> (kept, open)
  flat = Reshape (by_distance, flat_shape)
  begun = Slice (flat, before, end, third)
  rows_shape = Concat <axis = 0> (kept, queries, row)
  rows = Reshape (begun, rows_shape)
  shifted = Slice (rows, first, keys_count, fourth)

  sum = Add (content, shifted)
  scores = Mul (sum, factor)
  masked = Where (mask, lowest, scores)
  probabilities = Softmax <axis = -1> (masked)
  of_masked = Mul (probabilities, share)
  weights = Where (mask, of_masked, probabilities)
  context = MatMul (weights, values)
  turned = Transpose <perm = [0, 2, 1, 3]> (context)
  y_shape = Concat <axis = 0> (kept, width)
  Y = Reshape (turned, y_shape)
}}
"""


def rel_pos_attention_function(opset: int = 17) -> ir.Function:
    """The function that defines the operator; it goes into every model that uses it.

    Args:
        opset: The model's version of the standard domain, at least 15.

    Raises:
        ConfpressError: The opset is too old.
    """
    return function_of(_BODY.format(domain=DOMAIN, opset=opset, op_type=OP_TYPE), OP_TYPE, opset)


def rel_pos_attention_node(
    inputs: Sequence[ir.Value],
    *,
    shape: Sequence[int],
    columns: Sequence[int],
    scale: float,
    uniform: bool = False,
    name: str | None = None,
) -> ir.Node:
    """A node of the operator; the model also needs the function.

    Args:
        inputs: Q, K, V, P, bias_u, bias_v, mask.
        shape: [H, dh].
        columns: First columns of queries, keys, values and positions in their inputs.
        scale: Factor of the scores.
        uniform: Whether a query without keys averages all values.
        name: The node's name.

    Raises:
        ConfpressError: The head is too wide for the kernels.
    """
    heads, size = shape
    if size > MOST_HEAD_SIZE:
        raise ConfpressError(
            f"{OP_TYPE} takes heads of up to {MOST_HEAD_SIZE} features, not {size}."
        )
    node = ir.Node(
        DOMAIN,
        OP_TYPE,
        list(inputs),
        [
            ir.AttrInt64s("shape", list(shape)),
            ir.AttrInt64s("columns", list(columns)),
            ir.AttrFloat32("scale", scale),
            ir.AttrFloat32("uniform", float(uniform)),
        ],
        name=name,
    )
    (y,) = node.outputs
    y.dtype = ir.DataType.FLOAT
    q = inputs[0]
    if q.shape is not None:
        y.shape = ir.Shape([*q.shape.dims[:-1], heads * size])
    return node

"""RelPosAttention, DotProductAttention, BiasedAttention: attention from projections to context.

DotProductAttention is scaled dot-product attention (Vaswani et al. 2017), BiasedAttention that of
T5 (Raffel et al. 2020), whose scores get a number for every distance, or of any other summand,
RelPosAttention Transformer-XL's (Dai et al. 2019) as Conformers use it. With i a query, j a key and
the distance between them counted from Tq - 1 (the first query's last key) down, their scores are

    score[i, j] = q_i · k_j · scale
    score[i, j] = q_i · k_j · scale + bias[i, j]
    score[i, j] = ((q_i + u) · k_j + (q_i + w) · p_{Tq - 1 - i + j}) · scale

then a mask, the Softmax over the keys and the average of the values. The projections are read where
they lie, also as columns of one packed [q; k; v]; no scores of all frames, no shifted copies and no
transposed layouts exist. There may be more keys than queries: those of earlier chunks. The
operators are model-local functions: the bodies below are their meaning.

======== ========= ============================ ================================================
input    type      shape                        meaning
======== ========= ============================ ================================================
Q        float32   [B, Tq, features]            queries are H · dh columns from columns[0] on
K        float32   [B, Tk, features]            keys, from columns[1] on; may be the same as Q
V        float32   [B, Tk, features]            values, from columns[2] on; may be the same as Q
P        float32   [B or 1, Tq + Tk - 1,        projected positions, from columns[3] on, or dh
                   features]                    that all heads share (Shaw et al. 2018);
                                                RelPosAttention alone, as bias_u and bias_v
bias_u   float32   [H, dh]                      added to the queries that meet keys
bias_v   float32   [H, dh]                      added to the queries that meet positions
bias     float32   [B or 1, H or 1, Tq or 1,    added to the scores of BiasedAttention; where
                   Tk]                          these fall below half the lowest number of float32,
                                                the key does not count
mask     bool      [B or 1, 1, Tq or 1, Tk or   true where a key does not count;
                   1]                           [[[[false]]]] where all count
======== ========= ============================ ================================================

Attributes: ``shape`` is [H, dh], ``columns`` the first columns, ``scale`` a float. A query
without any key gets zeros where the float ``uniform`` is 0; where it is 1 it gets the average of
all values, which is what a Softmax of equal scores leaves.

Each operator has a twin, with ``BFloat16`` behind its name, that rounds to bfloat16 what its
products multiply: queries (with u or w added), keys, positions, values, and the weights before they
are divided by their sum. Sums are float32. So processors with products of bfloat16 may use them
(Intel's AMX has 16 times the rate of float32), and on every processor the numbers are the same;
beyond 256 keys as far as bfloat16 is, since weights are then rounded block by block.

A masked key's weight is exactly zero. Models that mask by adding or writing a large negative number
agree with that wherever the other scores are ordinary numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

from ..errors import ConfpressError
from .functions import function_of
from .quantlinear import DOMAIN, REDUCE_AXES_AS_INPUT

RELATIVE: Final = "RelPosAttention"
PLAIN: Final = "DotProductAttention"
BIASED: Final = "BiasedAttention"
#: Of an operator, the one that multiplies in bfloat16.
ROUNDED: Final = {name: f"{name}BFloat16" for name in (RELATIVE, PLAIN, BIASED)}
_EXACT: Final = {rounded: name for name, rounded in ROUNDED.items()}
#: The kernels keep a block of queries in registers and near memory.
MOST_HEAD_SIZE: Final = 256

_BODY: Final = """
<domain: "{domain}", opset_import: ["": {opset}]>
{op_type} <shape, columns, scale, uniform> ({inputs}) => (Y)
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
  size = Gather (sizes, second)
  by_own_head = Concat <axis = 0> (kept, open, size)
{projections}
  keys = Transpose <perm = [0, 2, 3, 1]> (k)
  values = Transpose <perm = [0, 2, 1, 3]> (v)
{scores}
  masked = Where (hidden, lowest, scores)
{average}
  turned = Transpose <perm = [0, 2, 1, 3]> (context)
  y_shape = Concat <axis = 0> (kept, width)
  Y = Reshape (turned, y_shape)
}}
"""

_PROJECTION: Final = """
  {name}_start = Gather (starts, {place})
  {name}_end = Add ({name}_start, width)
  {name}_columns = Slice ({input}, {name}_start, {name}_end, third)
  {name} = Reshape ({name}_columns, {shape})
"""

_SCALED: Final = """
  scores = Mul (sum, factor)
  hidden = Identity (mask)
"""

_SUM_OF_KEYS: Final = """
  queries = Transpose <perm = [0, 2, 1, 3]> (q)
  {sum}
"""

_AVERAGE: Final = """
  probabilities = Softmax <axis = -1> (masked)
  of_masked = Mul (probabilities, share)
  weights = Where (hidden, of_masked, probabilities)
  {context}
"""

# What is rounded is exp(score - largest score): probabilities over the largest one.
_ROUNDED_AVERAGE: Final = """
  probabilities = Softmax <axis = -1> (masked)
  largest = {reduce_max}
  exponentials = Div (probabilities, largest)
  of_masked = Mul (exponentials, share)
  weights = Where (hidden, of_masked, exponentials)
  {weighted}
  context = Mul (weighted, largest)
"""

_ROUNDED_PRODUCT: Final = """
  {y}_left_half = Cast <to = 16> ({left})
  {y}_left = Cast <to = 1> ({y}_left_half)
  {y}_right_half = Cast <to = 16> ({right})
  {y}_right = Cast <to = 1> ({y}_right_half)
  {y} = MatMul ({y}_left, {y}_right)
"""

_SCALED_AND_BIASED: Final = """
  scaled = Mul (sum, factor)
  scores = Add (scaled, bias)
  bound = Constant <value_float = -1.7014117e38> ()
  fallen = Less (scores, bound)
  hidden = Or (mask, fallen)
"""

# The shift reads [Tq, Tq + Tk - 1] scores by distance as one flat row, from element Tq - 1 on in
# rows that are one shorter: row i then begins at its own first distance. A single query has a
# single row, which is not shorter than its keys.
_SUM_OF_KEYS_AND_POSITIONS: Final = """
  q_with_u = Add (q, bias_u)
  q_with_v = Add (q, bias_v)
  left = Transpose <perm = [0, 2, 1, 3]> (q_with_u)
  left_of_positions = Transpose <perm = [0, 2, 1, 3]> (q_with_v)
  positions = Transpose <perm = [0, 2, 3, 1]> (p)
  {content}
  {by_distance}

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
"""

_INPUTS: Final = {
    PLAIN: ("Q", "K", "V", "mask"),
    BIASED: ("Q", "K", "V", "bias", "mask"),
    RELATIVE: ("Q", "K", "V", "P", "bias_u", "bias_v", "mask"),
}
_SCORES: Final = {
    PLAIN: _SUM_OF_KEYS + _SCALED,
    BIASED: _SUM_OF_KEYS + _SCALED_AND_BIASED,
    RELATIVE: _SUM_OF_KEYS_AND_POSITIONS + _SCALED,
}
#: What the bodies multiply, by the name of the product.
_PRODUCTS: Final = {
    "sum": ("queries", "keys"),
    "content": ("left", "keys"),
    "by_distance": ("left_of_positions", "positions"),
    "context": ("weights", "values"),
    "weighted": ("weights", "values"),
}


def attention_function(op_type: str, opset: int = 17) -> ir.Function:
    """The function that defines an operator; it goes into every model that uses it.

    Args:
        op_type: ``RelPosAttention``, ``DotProductAttention`` or ``BiasedAttention``, or the twin of
            one (``ROUNDED``).
        opset: The model's version of the standard domain, at least 15.

    Raises:
        ConfpressError: The opset is too old.
    """
    exact = _EXACT.get(op_type, op_type)
    inputs = _INPUTS[exact]
    products = {y: _product(y, *operands, exact != op_type) for y, operands in _PRODUCTS.items()}
    reduce_max = (
        "ReduceMax (probabilities, fourth)"
        if opset >= REDUCE_AXES_AS_INPUT
        else "ReduceMax <axes = [3]> (probabilities)"
    )
    average = _AVERAGE if exact == op_type else _ROUNDED_AVERAGE
    projected = zip("QKVP", ("first", "second", "third", "fourth"), strict=True)
    body = _BODY.format(
        domain=DOMAIN,
        opset=opset,
        op_type=op_type,
        inputs=", ".join(inputs),
        projections="".join(
            _PROJECTION.format(
                name=name.lower(),
                input=name,
                place=place,
                shape="by_own_head" if name == "P" else "by_head",
            )
            for name, place in projected
            if name in inputs
        ),
        scores=_SCORES[exact].format(**products),
        average=average.format(reduce_max=reduce_max, **products),
    )
    return function_of(body, op_type, opset)


def _product(y: str, left: str, right: str, rounded: bool) -> str:
    text = _ROUNDED_PRODUCT if rounded else "{y} = MatMul ({left}, {right})"
    return text.format(y=y, left=left, right=right)


def attention_node(
    inputs: Sequence[ir.Value],
    *,
    shape: Sequence[int],
    columns: Sequence[int],
    scale: float,
    uniform: bool = False,
    name: str | None = None,
) -> ir.Node:
    """A node of the operator that takes these inputs; the model also needs the function.

    Args:
        inputs: Those of an operator, in its order: Q, K, V, mask of ``DotProductAttention``; bias
            before the mask of ``BiasedAttention``; P, bias_u, bias_v of ``RelPosAttention``.
        shape: [H, dh].
        columns: First columns of queries, keys, values and positions in their inputs.
        scale: Factor of the scores.
        uniform: Whether a query without keys averages all values.
        name: The node's name.

    Raises:
        ConfpressError: The head is too wide for the kernels.
    """
    op_type = {len(names): name for name, names in _INPUTS.items()}.get(len(inputs), RELATIVE)
    heads, size = shape
    if size > MOST_HEAD_SIZE:
        raise ConfpressError(
            f"{op_type} takes heads of up to {MOST_HEAD_SIZE} features, not {size}."
        )
    node = ir.Node(
        DOMAIN,
        op_type,
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

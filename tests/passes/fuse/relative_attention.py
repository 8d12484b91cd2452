"""A module with relative positions as a tracing exporter writes it."""

from __future__ import annotations

import functools
import re

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..graphs import Arrays, parse

HEADS, SIZE = 2, 3
WIDTH = HEADS * SIZE

# {..} are replaced by the tests.
GRAPH = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 6] x, float[1, r, 6] pe, bool[b, 1, t, t] mask, float[6] norm_weight,
     float[6] norm_bias, float[6, 6] w_q, float[6, 6] w_k, float[6, 6] w_v, float[6, 6] w_p,
     float[6, 6] w_out, float[2, 3] u, float[2, 3] w, int64[4] split, int64[3] joined,
     int64[8] pads{declared}) => (float[b, t, 6] y)
{{
  n = LayerNormalization (x, norm_weight, norm_bias)
  q_all = MatMul (n, w_q)
  k_all = MatMul (n, w_k)
  v_all = MatMul (n, w_v)
  p_all = MatMul (pe, w_p)
  q = Reshape (q_all, split)
  k4 = Reshape (k_all, split)
  v4 = Reshape (v_all, split)
  p4 = Reshape (p_all, split)
  qu4 = Add (q, u)
  qv4 = Add (w, q)
  qu = Transpose <perm = [0, 2, 1, 3]> (qu4)
  qv = Transpose <perm = [0, 2, 1, 3]> (qv4)
  k = Transpose <perm = [0, 2, 3, 1]> (k4)
  p = Transpose <perm = [0, 2, 3, 1]> (p4)
  v = Transpose <perm = [0, 2, 1, 3]> (v4)
  content = MatMul (qu, k)
  distance = MatMul (qv, p)
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  two = Constant <value_ints = [2]> ()
  three = Constant <value_ints = [3]> ()
  most = Constant <value_ints = [9223372036854775807]> ()
  heads = Shape <end = 2> (distance)
  t = Shape <start = 2, end = 3> (distance)
  r = Shape <start = 3> (distance)
  wide = Add (r, one)
  padded = Pad (distance, pads)
  turned_shape = Concat <axis = 0> (heads, wide, t)
  turned = Reshape (padded, turned_shape)
  dropped = Slice (turned, {first}, most, two, one)
  distance_shape = Concat <axis = 0> (heads, t, r)
  back = Reshape (dropped, distance_shape)
  shifted = Slice (back, zero, t, three, one)
  sum = Add (content, shifted)
  root = Constant <value_float = 1.7320508> ()
  scores = Div (sum, root)
  low = Constant <value_float = -10000.0> ()
  none = Constant <value_float = 0.0> ()
  filled = Where (mask, low, scores)
  soft = Softmax <axis = -1> (filled)
  {after}
  context = MatMul (weights, v)
  context4 = Transpose <perm = [0, 2, 1, 3]> (context)
  flat = Reshape (context4, joined)
  out = MatMul (flat, w_out)
  {end}
}}"""

#: A gate beside the attention, both merged by a linear layer.
GATED_END = """
  opened = MatMul (n, w_in)
  kept, other = Split <axis = -1, num_outputs = 2> (opened)
  channels = Transpose <perm = [0, 2, 1]> (other)
  convolved = Conv <kernel_shape = [3], pads = [1, 1], group = 4> (channels, filters)
  frames = Transpose <perm = [0, 2, 1]> (convolved)
  gated = Mul (kept, frames)
  narrow = MatMul (gated, w_narrow)
  both = Concat <axis = -1> (out, narrow)
  merged = MatMul (both, w_merge)
  y = Add (x, merged)
"""
GATE = {"w_in": (6, 8), "filters": (4, 1, 3), "w_narrow": (4, 6), "w_merge": (12, 6)}


#: Frames of earlier chunks are keys too; NeMo cuts as many positions as there are keys.
_NEMO = {
    "t, t] mask,": "t, s] mask, float[b, c, 6] past,",
    "k_all = MatMul (n, w_k)": "keys = Concat <axis = 1> (past, n) k_all = MatMul (keys, w_k)",
    "v_all = MatMul (n, w_v)": "v_all = MatMul (keys, w_v)",
    "shifted = Slice (back, zero, t,": """columns = Shape <start = 3> (content)
  shifted = Slice (back, zero, columns,""",
}
NEMO_STREAM = functools.reduce(lambda text, each: text.replace(*each), _NEMO.items(), GRAPH)


def with_stored_positions(graph: str, batch: int, distances: int) -> str:
    """The graph with projected positions ``p``, [batch, heads, size, distances], as a constant."""
    stored = f"float[{batch}, {HEADS}, {SIZE}, {distances}] p"
    return re.sub(r"  (p_all|p4|p) = .*\n", "", graph).replace("float[1, r, 6] pe", stored)


def relative_attention(
    first: str = "one",
    after: str = "weights = Where (mask, none, soft)",
    *,
    gated: bool = False,
    graph: str = GRAPH,
    **constants: npt.NDArray[np.generic],
) -> ir.Model:
    """The module, on request with a convolutional gate beside it, and constants of its graph."""
    generator = np.random.default_rng(0)
    matrices = {
        name: generator.standard_normal((WIDTH, WIDTH), np.float32)
        for name in ("w_q", "w_k", "w_v", "w_p", "w_out")
    }
    gate = GATE if gated else {}
    return parse(
        graph.format(
            first=first,
            after=after,
            end=GATED_END if gated else "y = Add (x, out)",
            declared="".join(f", float{list(shape)} {name}" for name, shape in gate.items()),
        ),
        **{
            **matrices,
            **{name: generator.standard_normal(shape, np.float32) for name, shape in gate.items()},
            "norm_weight": np.ones(WIDTH, np.float32),
            "norm_bias": np.zeros(WIDTH, np.float32),
            "u": generator.standard_normal((HEADS, SIZE), np.float32),
            "w": generator.standard_normal((HEADS, SIZE), np.float32),
            "split": np.array([0, -1, HEADS, SIZE]),
            "joined": np.array([0, 0, WIDTH]),
            "pads": np.array([0, 0, 0, 1, 0, 0, 0, 0]),
            **constants,
        },
    )


def relative_feeds(batch: int, frames: int) -> Arrays:
    generator = np.random.default_rng(1)
    mask = generator.random((batch, 1, frames, frames)) < 0.3
    mask[-1, :, 0] = True
    return {
        "x": generator.standard_normal((batch, frames, WIDTH), np.float32),
        "pe": generator.standard_normal((1, 2 * frames - 1, WIDTH), np.float32),
        "mask": mask,
    }

"""Self-attention around scores that the tests write, in ONNX's text format."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..graphs import parse

HEADS, SIZE = 2, 4
WIDTH = HEADS * SIZE

_GRAPH = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 8] x, {inputs}, float[8] norm_weight, float[8] norm_bias, float[8, 8] w_q,
     float[8, 8] w_k, float[8, 8] w_v, float[8, 8] w_out, int64[4] split, int64[3] joined,
     float root) => (float[b, t, 8] y)
{{
  n = LayerNormalization (x, norm_weight, norm_bias)
  q_all = MatMul (n, w_q)
  k_new = MatMul (n, w_k)
  v_new = MatMul (n, w_v)
  {keys_and_values}
  q4 = Reshape (q_all, split)
  k4 = Reshape (k_all, split)
  v4 = Reshape (v_all, split)
  q_heads = Transpose <perm = [0, 2, 1, 3]> (q4)
  k_heads = Transpose <perm = [0, 2, 1, 3]> (k4)
  v = Transpose <perm = [0, 2, 1, 3]> (v4)
  {scores}
  weights = Softmax <axis = -1> (scores)
  context = MatMul (weights, v)
  context4 = Transpose <perm = [0, 2, 1, 3]> (context)
  flat = Reshape (context4, joined)
  out = MatMul (flat, w_out)
  y = Add (x, out)
}}"""

#: Keys and values of these frames alone.
NO_CACHES = "k_all = Identity (k_new) v_all = Identity (v_new)"


def attention(
    inputs: str,
    scores: str,
    keys_and_values: str = NO_CACHES,
    **constants: npt.NDArray[np.generic],
) -> ir.Model:
    """A module of 2 heads of 4 features; activations are of order 1.

    Args:
        inputs: Declares what else the texts read, constants included.
        scores: Nodes from ``q4``, ``q_heads`` and ``k_heads`` to ``scores``; ``root`` is 0.7.
        keys_and_values: Nodes from ``k_new`` and ``v_new`` to ``k_all`` and ``v_all``.
        **constants: Arrays of some of the inputs; ``split`` and ``joined``, the sizes before and
            behind the heads, keep batch and frames unless they are given.
    """
    generator = np.random.default_rng(0)
    matrices = {
        name: generator.standard_normal((WIDTH, WIDTH), np.float32) / np.float32(WIDTH**0.5)
        for name in ("w_q", "w_k", "w_v", "w_out")
    }
    sizes = {"split": np.array([0, -1, HEADS, SIZE]), "joined": np.array([0, 0, WIDTH])}
    model = parse(
        _GRAPH.format(inputs=inputs, scores=scores, keys_and_values=keys_and_values),
        **matrices,
        norm_weight=np.ones(WIDTH, np.float32),
        norm_bias=np.zeros(WIDTH, np.float32),
        root=np.array(0.7, np.float32),
        **(sizes | constants),
    )
    return common.ShapeInferencePass()(model).model

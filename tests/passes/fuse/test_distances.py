"""Attention with a vector for every distance: Shaw's, in one operator."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.fuse.attention import FuseAttention

from ..graphs import Arrays, evaluate, operators, parse

HEADS, SIZE = 2, 4
WIDTH = HEADS * SIZE

# {..} are replaced by the tests.
GRAPH = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 8] x, float[8] norm_weight, float[8] norm_bias, float[8, 8] w_q,
     float[8, 8] w_k, float[8, 8] w_v, float[8, 8] w_out, int64[4] split, int64[3] joined,
     float root, int64 start, int64 step, int64 low, int64 high, int64[2] as_row,
     int64[2] as_column, float[6, 4] table) => (float[b, t, 8] y)
{{
  n = LayerNormalization (x, norm_weight, norm_bias)
  q_all = MatMul (n, w_q)
  k_all = MatMul (n, w_k)
  v_all = MatMul (n, w_v)
  q4 = Reshape (q_all, split)
  k4 = Reshape (k_all, split)
  v4 = Reshape (v_all, split)
  q = Transpose <perm = [0, 2, 1, 3]> (q4)
  k = Transpose <perm = [0, 2, 3, 1]> (k4)
  v = Transpose <perm = [0, 2, 1, 3]> (v4)
  content = MatMul (q, k)
  frames = Shape <start = 1, end = 2> (x)
  count = Squeeze (frames)
  numbers = Range (start, count, step)
  row = Reshape (numbers, as_row)
  column = Reshape (numbers, as_column)
  {index}
  vectors = Gather (table, index)
  turned = Transpose <perm = [0, 2, 1]> (vectors)
  by_distance = MatMul (q4, turned)
  positions = Transpose <perm = [0, 2, 1, 3]> (by_distance)
  shares = Mul (positions, root)
  sum = Add (content, shares)
  scores = Mul (sum, root)
  weights = Softmax <axis = -1> (scores)
  context = MatMul (weights, v)
  context4 = Transpose <perm = [0, 2, 1, 3]> (context)
  flat = Reshape (context4, joined)
  out = MatMul (flat, w_out)
  y = Add (x, out)
}}"""

KEYS_LESS_QUERIES = "d = Sub (row, column) c = Clip (d, low, high) index = Sub (c, low)"
QUERIES_LESS_KEYS = "d = Sub (column, row) c = Clip (d, low, high) index = Sub (c, low)"
PRODUCT = "d = Mul (row, column) c = Clip (d, low, high) index = Sub (c, low)"


def _model(index: str, step: int = 1) -> ir.Model:
    generator = np.random.default_rng(0)
    model = parse(
        GRAPH.format(index=index),
        **{
            name: generator.standard_normal((WIDTH, WIDTH), np.float32)
            for name in ("w_q", "w_k", "w_v", "w_out")
        },
        norm_weight=np.ones(WIDTH, np.float32),
        norm_bias=np.zeros(WIDTH, np.float32),
        split=np.array([0, -1, HEADS, SIZE]),
        joined=np.array([0, 0, WIDTH]),
        root=np.array(0.7, np.float32),
        start=np.array(0),
        step=np.array(step),
        low=np.array(-3),
        high=np.array(2),
        as_row=np.array([1, -1]),
        as_column=np.array([-1, 1]),
        table=generator.standard_normal((6, SIZE), np.float32),
    )
    return common.ShapeInferencePass()(model).model


def _feeds(batch: int, frames: int) -> Arrays:
    x = np.random.default_rng(1).standard_normal((batch, frames, WIDTH), np.float32)
    return {"x": x}


@pytest.mark.parametrize("index", [KEYS_LESS_QUERIES, QUERIES_LESS_KEYS])
def test_same_outputs_without_a_vector_for_every_pair(index: str) -> None:
    original, model = _model(index), _model(index)
    result = FuseAttention()(model)
    assert [change.what for change in result.changes] == [
        "attention in one operator, RelPosAttention"
    ]
    assert not {"Softmax", "Reshape"} & set(operators(model))
    for batch, frames in ((1, 1), (2, 7), (1, 30)):
        feeds = _feeds(batch, frames)
        (expected,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("index", "step"), [(PRODUCT, 1), (KEYS_LESS_QUERIES, 2)])
def test_other_look_ups_are_refused(index: str, step: int) -> None:
    (refusal,) = FuseAttention()(_model(index, step)).refusals
    assert "looked up by more than the distance of two frames" in refusal.reason

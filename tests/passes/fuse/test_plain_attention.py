"""Attention without positions in its scores: spellings, caches and rotated queries and keys."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.fuse.attention import FuseAttention

from ..graphs import Arrays, evaluate, operators, parse

HEADS, SIZE, PAST = 2, 4, 3
WIDTH = HEADS * SIZE

# {..} are replaced by the tests.
GRAPH = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 8] x, float[b, 3, 8] past_k, float[b, 3, 8] past_v, float[1, 1, t, 4] cos,
     bool[b, 1, t, s] mask, float[8] norm_weight, float[8] norm_bias, float[8, 8] w_q,
     float[8, 8] w_k, float[8, 8] w_v, float[8, 8] w_out, int64[4] split, int64[3] joined,
     float root, float bias, float low, float none) => (float[b, t, 8] y)
{{
  n = LayerNormalization (x, norm_weight, norm_bias)
  q_all = MatMul (n, w_q)
  k_new = MatMul (n, w_k)
  v_new = MatMul (n, w_v)
  {caches}
  q4 = Reshape (q_all, split)
  k4 = Reshape (k_all, split)
  v4 = Reshape (v_all, split)
  q_heads = Transpose <perm = [0, 2, 1, 3]> (q4)
  k_heads = Transpose <perm = [0, 2, 1, 3]> (k4)
  v = Transpose <perm = [0, 2, 1, 3]> (v4)
  {queries}
  k = Transpose <perm = [0, 1, 3, 2]> (k_turned)
  content = MatMul (q, k)
  {scores}
  weights = Softmax <axis = -1> (masked)
  context = MatMul (weights, v)
  context4 = Transpose <perm = [0, 2, 1, 3]> (context)
  flat = Reshape (context4, joined)
  out = MatMul (flat, w_out)
  y = Add (x, out)
}}"""

NO_CACHES = "k_all = Identity (k_new) v_all = Identity (v_new)"
CACHES = "k_all = Concat <axis = 1> (past_k, k_new) v_all = Concat <axis = 1> (past_v, v_new)"
STILL = "q = Div (q_heads, root) k_turned = Div (k_heads, root)"
ROTATED = "q = Mul (q_heads, cos) k_turned = Mul (k_heads, cos)"
CHOSEN = "scores = Mul (content, root) masked = Where (mask, low, scores)"
ADDED = "summand = Where (mask, low, none) masked = Add (summand, content)"
OPEN = "masked = Div (content, root)"


def _model(caches: str, queries: str, scores: str) -> ir.Model:
    generator = np.random.default_rng(0)
    model = parse(
        GRAPH.format(caches=caches, queries=queries, scores=scores),
        **{
            name: generator.standard_normal((WIDTH, WIDTH), np.float32)
            for name in ("w_q", "w_k", "w_v", "w_out")
        },
        norm_weight=np.ones(WIDTH, np.float32),
        norm_bias=np.zeros(WIDTH, np.float32),
        split=np.array([0, -1, HEADS, SIZE]),
        joined=np.array([0, 0, WIDTH]),
        root=np.array(1.3, np.float32),
        bias=np.array(0.2, np.float32),
        low=np.array(-1e9, np.float32),
        none=np.array(0, np.float32),
    )
    return common.ShapeInferencePass()(model).model


def _feeds(batch: int, frames: int, past: int) -> Arrays:
    generator = np.random.default_rng(1)
    shapes = {
        "x": (batch, frames, WIDTH),
        "past_k": (batch, PAST, WIDTH),
        "past_v": (batch, PAST, WIDTH),
        "cos": (1, 1, frames, SIZE),
    }
    feeds = {name: generator.standard_normal(s, np.float32) for name, s in shapes.items()}
    return feeds | {"mask": generator.random((batch, 1, frames, frames + past)) < 0.3}


@pytest.mark.parametrize(
    ("caches", "queries", "scores"),
    [
        (NO_CACHES, STILL, CHOSEN),
        (CACHES, STILL, ADDED),
        (CACHES, STILL, OPEN),
        (NO_CACHES, ROTATED, CHOSEN),
    ],
)
def test_same_outputs_in_one_operator(caches: str, queries: str, scores: str) -> None:
    original, model = _model(caches, queries, scores), _model(caches, queries, scores)
    result = FuseAttention()(model)
    assert [change.what for change in result.changes] == [
        "attention in one operator, DotProductAttention"
    ]
    assert not {"Softmax", "Where", "Div"} & set(operators(model))
    for batch, frames in ((1, 1), (2, 7)):
        feeds = _feeds(batch, frames, PAST if caches is CACHES else 0)
        (expected,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("queries", "scores", "reason"),
    [
        ("q = Add (q_heads, bias) k_turned = Identity (k_heads)", OPEN, "a bias of its own"),
        (STILL, "small = Sin (content) masked = Mul (small, root)", "differs from the operator by"),
    ],
)
def test_other_scores_are_refused(queries: str, scores: str, reason: str) -> None:
    model = _model(NO_CACHES, queries, scores)
    (refusal,) = FuseAttention()(model).refusals
    assert "attention stays as it is" in refusal.reason
    assert reason in refusal.reason

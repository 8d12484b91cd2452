"""Attention with a vector for every distance: Shaw's, in one operator."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.fuse.attention import FuseAttention

from ..graphs import evaluate, operators
from .attention_graphs import SIZE, WIDTH, attention

INPUTS = """int64 start, int64 step, int64 low, int64 high, int64[2] as_row, int64[2] as_column,
    float[6, 4] table"""
# {difference} is replaced by the tests.
SCORES = """
  k = Transpose <perm = [0, 1, 3, 2]> (k_heads)
  content = MatMul (q_heads, k)
  frames = Shape <start = 1, end = 2> (x)
  count = Squeeze (frames)
  numbers = Range (start, count, step)
  row = Reshape (numbers, as_row)
  column = Reshape (numbers, as_column)
  difference = {difference}
  bounded = Clip (difference, low, high)
  index = Sub (bounded, low)
  vectors = Gather (table, index)
  turned = Transpose <perm = [0, 2, 1]> (vectors)
  by_distance = MatMul (q4, turned)
  positions = Transpose <perm = [0, 2, 1, 3]> (by_distance)
  shares = Mul (positions, root)
  sum = Add (content, shares)
  scores = Mul (sum, root)
"""
KEYS_LESS_QUERIES, QUERIES_LESS_KEYS = "Sub (row, column)", "Sub (column, row)"


def _model(difference: str, step: int = 1) -> ir.Model:
    return attention(
        INPUTS,
        SCORES.format(difference=difference),
        start=np.array(0),
        step=np.array(step),
        low=np.array(-3),
        high=np.array(2),
        as_row=np.array([1, -1]),
        as_column=np.array([-1, 1]),
        table=np.random.default_rng(2).standard_normal((6, SIZE), np.float32),
    )


@pytest.mark.parametrize("difference", [KEYS_LESS_QUERIES, QUERIES_LESS_KEYS])
def test_same_outputs_without_a_vector_for_every_pair(difference: str) -> None:
    original, model = _model(difference), _model(difference)
    result = FuseAttention()(model)
    assert [change.what for change in result.changes] == [
        "attention in one operator, RelPosAttention"
    ]
    assert not {"Softmax", "Reshape"} & set(operators(model))
    for batch, frames in ((1, 1), (2, 7), (1, 30)):
        shape = (batch, frames, WIDTH)
        feeds = {"x": np.random.default_rng(1).standard_normal(shape, np.float32)}
        (expected,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("difference", "step"), [("Mul (row, column)", 1), (KEYS_LESS_QUERIES, 2)])
def test_other_look_ups_are_refused(difference: str, step: int) -> None:
    (refusal,) = FuseAttention()(_model(difference, step)).refusals
    assert "looked up by more than the distance of two frames" in refusal.reason

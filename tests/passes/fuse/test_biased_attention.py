"""Attention whose scores get a summand: biases by distance, masks as numbers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.fuse.attention import FuseAttention

from ..graphs import evaluate, operators
from .attention_graphs import HEADS, WIDTH, attention

INPUTS = """bool[b, 1, t, t] mask, float[{given}] given, int64 start, int64 step, int64 low,
    int64 high, int64[2] as_row, int64[2] as_column, int64[1] first, float[6, 2] table,
    float least"""
CONTENT = """
  k = Transpose <perm = [0, 1, 3, 2]> (k_heads)
  product = MatMul (q_heads, k)
  content = Mul (product, root)
"""
#: As T5 has it: a number for every head and distance, shared by all of a batch.
BY_DISTANCE = """
  frames = Shape <start = 1, end = 2> (x)
  count = Squeeze (frames)
  numbers = Range (start, count, step)
  row = Reshape (numbers, as_row)
  column = Reshape (numbers, as_column)
  difference = Sub (row, column)
  bounded = Clip (difference, low, high)
  index = Sub (bounded, low)
  looked_up = Gather (table, index)
  by_head = Transpose <perm = [2, 0, 1]> (looked_up)
  bias = Unsqueeze (by_head, first)
"""
ADDED = "scores = Add (content, bias)"
MASKED = "sum = Add (bias, content) scores = Where (mask, least, sum)"
MASK_IN_BIAS = "hiding = Where (mask, least, bias) scores = Add (content, hiding)"
GIVEN = "scores = Add (content, given)"
SCALED_LATER = "sum = Add (content, bias) scores = Mul (sum, root)"
TWICE = "once = Add (content, bias) scores = Add (once, given)"
ALL_PAIRS = "b, 2, t, t"


def _model(scores: str, given: str = ALL_PAIRS) -> ir.Model:
    return attention(
        INPUTS.format(given=given),
        f"{CONTENT} {BY_DISTANCE} {scores}",
        start=np.array(0),
        step=np.array(1),
        low=np.array(-3),
        high=np.array(2),
        as_row=np.array([1, -1]),
        as_column=np.array([-1, 1]),
        first=np.array([0]),
        table=np.random.default_rng(2).standard_normal((6, HEADS), np.float32),
        least=np.array(np.finfo(np.float32).min),
    )


@pytest.mark.parametrize(
    ("scores", "given"),
    [
        (ADDED, ALL_PAIRS),
        (MASKED, ALL_PAIRS),
        (MASK_IN_BIAS, ALL_PAIRS),
        (GIVEN, ALL_PAIRS),
        (GIVEN, "b, 1, 1, t"),
    ],
)
def test_same_outputs_in_one_operator(scores: str, given: str) -> None:
    original, model = _model(scores, given), _model(scores, given)
    result = FuseAttention()(model)
    assert [change.what for change in result.changes] == [
        "attention in one operator, BiasedAttention"
    ]
    assert not {"Softmax", "Where"} & set(operators(model))
    generator = np.random.default_rng(1)
    for batch, frames in ((1, 1), (2, 7)):
        axes = {"b": batch, "2": HEADS, "t": frames, "1": 1}
        shape = [axes[axis] for axis in given.split(", ")]
        feeds = {
            "x": generator.standard_normal((batch, frames, WIDTH), np.float32),
            "mask": generator.random((batch, 1, frames, frames)) < 0.3,
            "given": generator.standard_normal(shape, np.float32),
        }
        (expected,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("scores", "given", "reason"),
    [
        (SCALED_LATER, ALL_PAIRS, "differs from the operator by"),
        (TWICE, ALL_PAIRS, "2 values are added to its scores"),
        (GIVEN, "t, t", "not known to have the axes [batch, heads, queries, keys]"),
    ],
)
def test_other_summands_are_refused(scores: str, given: str, reason: str) -> None:
    (refusal,) = FuseAttention()(_model(scores, given)).refusals
    assert "attention stays as it is" in refusal.reason
    assert reason in refusal.reason

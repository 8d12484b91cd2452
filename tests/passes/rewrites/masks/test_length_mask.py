"""Masks that are looked up in a triangle by length become comparisons, and others stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.rewrites.masks.length_mask import LengthMask

from tests.passes.graphs import evaluate, operators, parse

# A triangle one frame larger than the longest utterance; {..} are replaced by the tests.
LOOKED_UP = """
<ir_version: 10, opset_import: ["": 21]>
net (int64[b] lengths) => (float[b, t] y)
{{
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  first = Constant <value_ints = [0]> ()
  second = Constant <value_ints = [1]> ()
  last = Constant <value_ints = [-1]> ()
  most = Constant <value_ints = [9223372036854775807]> ()
  longest = ReduceMax <keepdims = 0> (lengths)
  clipped = Min (lengths, longest)
  size = Add (longest, one)
  numbers = Range (zero, size, one)
  upright = Unsqueeze (numbers, second)
  size_vector = Reshape (size, last)
  square = Concat <axis = 0> (size_vector, size_vector)
  rows = Expand (upright, square)
  triangle = {compared} (rows, numbers)
  lower = Slice (triangle, second, most, first, second)
  table = Slice (lower, first, last, second, second)
  index = Sub (clipped, {before})
  {looked_up}
  end = Reshape (longest, last)
  cut = Slice (taken, first, end, second, second)
  y = Cast <to = 1> (cut)
}}"""
GATHER = "taken = Gather <axis = 0> (table, index)"
GATHER_ND = "pairs = Unsqueeze (index, second) taken = GatherND (table, pairs)"


def build(compared: str = "LessOrEqual", before: str = "one", looked_up: str = GATHER) -> ir.Model:
    text = LOOKED_UP.format(compared=compared, before=before, looked_up=looked_up)
    return ir.passes.common.ShapeInferencePass()(parse(text)).model


@pytest.mark.parametrize("looked_up", [GATHER, GATHER_ND])
@pytest.mark.parametrize("compared", ["LessOrEqual", "Greater"])
def test_the_same_mask_without_a_table(compared: str, looked_up: str) -> None:
    original, model = build(compared, looked_up=looked_up), build(compared, looked_up=looked_up)
    assert [change.what for change in LengthMask()(model).changes] == [
        "mask by length computed by comparison, not looked up"
    ]
    assert not {"Expand", "Gather", "GatherND", "Slice"} & set(operators(model))
    for lengths in ([1], [4, 4], [2, 30, 17]):
        feeds = {"lengths": np.array(lengths)}
        (expected,), (found,) = evaluate(original, feeds), evaluate(model, feeds)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("compared", "before", "reason"),
    [("Less", "one", "no masks of padding"), ("LessOrEqual", "zero", "cannot be evaluated")],
)
def test_other_rows_are_refused(compared: str, before: str, reason: str) -> None:
    model = build(compared, before)
    (refusal,) = LengthMask()(model).refusals
    assert reason in refusal.reason
    assert "Gather" in operators(model)


def test_rows_that_not_lengths_alone_choose_are_left_alone() -> None:
    text = LOOKED_UP.replace("(int64[b] lengths)", "(int64[b] lengths, int64[b] others)").format(
        compared="LessOrEqual", before="others", looked_up=GATHER
    )
    model = ir.passes.common.ShapeInferencePass()(parse(text)).model
    result = LengthMask()(model)
    assert not result.changes
    assert not result.refusals

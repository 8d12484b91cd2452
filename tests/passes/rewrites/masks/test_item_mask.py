"""A mask that is written into some items of a batch becomes a mask of all."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.rewrites.masks.item_mask import ItemMask

from tests.passes.graphs import difference, operators, parse

# The last of every `each` items is masked, as encoders mask the last block of each utterance.
SCORES = """
<ir_version: 10, opset_import: ["": 21]>
net (float[n, 3, 2, 4] x, bool[3, 3] m, int64 each) => (float[n, 2, 3, 3] y)
{{
  fill = Constant <value = float {{-3.0e38}}> ()
  half = Constant <value = float {{0.5}}> ()
  table = Constant <value = float[3, 4, 3] {{{table}}}> ()
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  first = Constant <value_ints = [0]> ()
  last = Constant <value_ints = [-1]> ()
  open = Constant <value_ints = [-1]> ()
  product = MatMul (x, table)
  turned = Transpose <perm = [0, 2, 1, 3]> (product)
  s = Mul (turned, half)
  sizes = Shape (s)
  count = Gather (sizes, zero)
  begin = Sub (each, {before})
  begin_vector = Reshape (begin, open)
  end_vector = Unsqueeze (count, first)
  step_vector = Reshape (each, open)
  cut = Slice (s, begin_vector, end_vector, first, step_vector)
  masked = Where (m, fill, cut)
  numbers = Range (zero, count, one)
  begin_again = Unsqueeze ({begin}, first)
  step_again = Unsqueeze (each, first)
  taken = Slice (numbers, begin_again, end_vector, first, step_again)
  items = Unsqueeze (taken, last)
  y = ScatterND (s, items, masked)
}}"""


def _model(begin: str = "begin", before: str = "one") -> ir.Model:
    table = np.random.default_rng(0).standard_normal(36).round(3)
    text = SCORES.format(table=", ".join(map(str, table)), begin=begin, before=before)
    return ir.passes.common.ShapeInferencePass()(parse(text)).model


@pytest.mark.parametrize(("items", "each"), [(6, 3), (4, 1), (5, 5)])
def test_outputs_are_equal(items: int, each: int) -> None:
    model, original = _model(), _model()
    assert ItemMask()(model).modified
    assert operators(model)[-1] == "Where"
    assert "Slice" in operators(original)
    random = np.random.default_rng(1)
    feeds = {
        "x": random.standard_normal((items, 3, 2, 4), np.float32),
        "m": random.random((3, 3)) < 0.5,
        "each": np.array(each),
    }
    assert difference(model, original, feeds) == 0


def test_the_number_of_items_is_read_before_the_scores() -> None:
    """So that scores go where attention becomes one operator."""
    model = _model()
    ItemMask()(model)
    scores = next(node for node in model.graph if node.op_type == "Mul").outputs[0]
    assert [user.op_type for user in scores.consumers()] == ["Where"]


def test_other_items_than_those_that_were_cut_are_left_alone() -> None:
    assert not ItemMask()(_model(begin="zero")).modified

"""Sizes of scores are asked of the keys; those of what only resembles scores stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.rewrites.attention.score_sizes import ScoreSizes

from tests.passes.graphs import evaluate, operators, parse

# Scores of queries and keys that a layer projects; what is asked of {asked} cuts the mask.
ATTENTION = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 6] x, float[b, 1, 1, m] mask, float[6, 6] w) => (float[b, 2, t, u] y)
{{
  split = Constant <value_ints = [0, 0, 2, 3]> ()
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  last_axis = Constant <value_ints = [3]> ()
  shorter = Constant <value_ints = [-1]> ()
  projected = MatMul (x, w)
  shares = Softmax (projected)
  heads = Reshape (projected, split)
  q = Transpose <perm = [0, 2, 1, 3]> (heads)
  k = Transpose <perm = [0, 2, 3, 1]> (heads)
  product = MatMul (q, k)
  cut_product = Slice (product, zero, shorter, last_axis)
  sizes = Shape ({asked})
  place = Constant <value_ints = [{place}]> ()
  size = Gather (sizes, place)
  cut = Slice (mask, zero, size, last_axis)
  scores = {scores}
  y = Softmax (scores)
}}"""


def build(asked: str, place: int, scores: str = "Add (product, cut)") -> ir.Model:
    text = ATTENTION.format(asked=asked, place=place, scores=scores)
    weight = np.random.default_rng(0).standard_normal((6, 6)).astype(np.float32)
    model = parse(text, w=weight)
    return ir.passes.common.ShapeInferencePass()(model).model


def feeds() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {
        "x": random.standard_normal((2, 5, 6)).astype(np.float32),
        "mask": random.standard_normal((2, 1, 1, 9)).astype(np.float32),
    }


def test_the_size_of_scores_is_that_of_the_keys() -> None:
    original, model = build("product", 3), build("product", 3)
    assert len(ScoreSizes()(model).changes) == 1
    assert [v.name for n in model.graph if n.op_type == "Shape" for v in n.inputs] == ["projected"]
    assert "Gather" not in operators(model)
    np.testing.assert_array_equal(*(evaluate(each, feeds())[0] for each in (model, original)))


@pytest.mark.parametrize(
    ("asked", "place", "scores"),
    [
        # Of the projection the second of three axes counts frames, not the matrix's second.
        pytest.param("projected", 1, "Add (product, cut)", id="layer"),
        # What has been cut has another size than its product.
        pytest.param("cut_product", 3, "Add (cut_product, cut)", id="cut"),
    ],
)
def test_other_sizes_stay_what_they_are(asked: str, place: int, scores: str) -> None:
    original, model = (build(asked, place, scores) for _ in range(2))
    ScoreSizes()(model)
    np.testing.assert_array_equal(*(evaluate(each, feeds())[0] for each in (model, original)))

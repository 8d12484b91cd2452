"""Sizes of Expand are not compared with -1 when a model runs."""

from __future__ import annotations

import numpy as np
import pytest
from confpress.passes.rewrites.sizes.expand_sizes import ExpandSizes
from confpress.passes.rewrites.sizes.shapes import infer_shapes

from ...graphs import difference, operators, parse

#: ``mask.expand(batch, -1, frames, frames)`` as TorchScript's exporter writes it.
EXPANDED = """
<ir_version: 10, opset_import: ["": 17]>
net (float[b, t, 8] x, float[b, 1, 1, t] mask) => (float[b, n, q, k] y)
<int64 first = {0}, int64 second = {1}, int64[1] zero = {0}, int64[1] same = {-1},
 int64[4] none = {-1, -1, -1, -1}, int64[4] ones = {1, 1, 1, 1}> {
  s = Shape (x)
  batch = Gather (s, first)
  frames = Gather (s, second)
  b1 = Unsqueeze (batch, zero)
  t1 = Unsqueeze (frames, zero)
  sizes = Concat <axis = 0> (b1, same, t1, t1)
  left = Equal (sizes, none)
  target = Where (left, ones, sizes)
  y = Expand (mask, target)
}"""


@pytest.mark.parametrize("through", ["", "flat = Reshape (sizes, same)"])
def test_shapes_are_known(through: str) -> None:
    text = EXPANDED
    if through:
        text = text.replace("left = Equal (sizes,", f"{through}\n left = Equal (flat,")
        text = text.replace("ones, sizes)", "ones, flat)")
    model, original = parse(text), parse(text)
    assert ExpandSizes()(model).modified
    assert not {"Equal", "Where", "Reshape"} & set(operators(model))
    infer_shapes(model)
    (expand,) = [node for node in model.graph if node.op_type == "Expand"]
    assert expand.outputs[0].shape is not None
    assert expand.outputs[0].shape[1] == 1
    x = np.zeros((2, 5, 8), np.float32)
    mask = np.random.default_rng(0).standard_normal((2, 1, 1, 5), np.float32)
    assert difference(model, original, {"x": x, "mask": mask}) == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("t1 = Unsqueeze (frames, zero)", "t1 = Add (b1, same)", id="computed"),
        pytest.param("none = {-1, -1", "none = {-1, 5", id="compared with others"),
        pytest.param("ones = {1, 1", "ones = {1, 2", id="replaced by others"),
    ],
)
def test_other_questions_stay(old: str, new: str) -> None:
    text = EXPANDED.replace(old, new)
    assert text != EXPANDED
    assert not ExpandSizes()(parse(text)).modified

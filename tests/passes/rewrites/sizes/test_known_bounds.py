"""Weights that are cut by sizes which shapes tell become weights."""

from __future__ import annotations

import numpy as np
import pytest
from confpress.passes.rewrites.simplify import Simplify
from confpress.passes.rewrites.sizes.known_bounds import KnownBounds
from onnx_ir.passes.common import ShapeInferencePass

from ...graphs import difference, operators, parse

TEXT = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 8] x, float[24, 8] all) => (float[b, t, u] y)
<int64 place = {-1}, int64[1] zero = {0}, int64 two = {2}> {
  s = Shape (x)
  width = Gather (s, place)
  double = Mul (two, width)
  end = Unsqueeze (double, zero)
  start = Unsqueeze (width, zero)
  rows = Slice (all, start, end)
  w = Transpose <perm = [1, 0]> (rows)
  y = MatMul (x, w)
}"""
ALL = np.random.default_rng(0).standard_normal((24, 8)).astype(np.float32)


def test_folded() -> None:
    model, original = parse(TEXT, all=ALL), parse(TEXT, all=ALL)
    Simplify()(model)
    assert operators(model) == ["MatMul"]
    x = np.random.default_rng(1).standard_normal((2, 5, 8)).astype(np.float32)
    assert difference(model, original, {"x": x}) < 1e-6


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("place = {-1}", "place = {0}", id="the batch"),
        pytest.param("Slice (all,", "Slice (x,", id="a cut of what is computed"),
    ],
)
def test_left_alone(old: str, new: str) -> None:
    assert not KnownBounds()(parse(TEXT.replace(old, new), all=ALL)).modified


@pytest.mark.parametrize(
    "computed",
    [
        pytest.param("f = Cast <to = 1> (width) double = Cast <to = 7> (f)", id="by floats"),
        pytest.param("less = Sub (zero, width) double = Div (less, two)", id="negative"),
    ],
)
def test_bounds_that_integers_do_not_tell_stay_computed(computed: str) -> None:
    model = parse(TEXT.replace("double = Mul (two, width)", computed), all=ALL)
    model = ShapeInferencePass()(model).model
    assert KnownBounds()(model).modified  # the other bound
    (cut,) = [node for node in model.graph if node.op_type == "Slice"]
    assert cut.inputs[2].name == "end"


def test_bounds_keep_their_type() -> None:
    """Both have one, and one may stay computed."""
    text = TEXT.replace("end = Unsqueeze (double, zero)", "end = Cast <to = 6> (frames)")
    text = text.replace("start = Unsqueeze (width, zero)", "start = Cast <to = 6> (first)")
    sizes = "first = Unsqueeze (width, zero) frames = Shape <start = 1, end = 2> (x) double ="
    text = text.replace("double =", sizes)
    model = ShapeInferencePass()(parse(text, all=ALL)).model
    original = model.clone()
    assert KnownBounds()(model).modified
    x = np.random.default_rng(1).standard_normal((2, 15, 8)).astype(np.float32)
    assert difference(model, original, {"x": x}) == 0

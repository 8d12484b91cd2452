"""Constant factors move into stored numbers, and stay where they cannot."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.rewrites.layers.fold_scales import FoldScales

from tests.passes.graphs import difference, operators, parse

RANDOM = np.random.default_rng(0)


def array(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def sized(text: str, arrays: dict[str, np.ndarray], **shapes: tuple[int | str, ...]) -> ir.Model:
    model = parse(text, **arrays)
    for node in model.graph:
        for value in node.outputs:
            value.dtype = ir.DataType.FLOAT
            if value.name in shapes:
                value.shape = ir.Shape(shapes[value.name])
    return model


def linear(factor: str, users: str = "y = Identity (z)") -> ir.Model:
    return sized(
        f"""
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, t, 6] x, float[6, 4] w, float[4] c) => (float[b, t, 4] y)
    <float half = {{0.5}}, float root = {{13.266499}}> {{
      p = MatMul (x, w)
      q = Add (c, p)
      z = {factor}
      {users}
    }}""",
        {"w": array(6, 4), "c": array(4)},
        q=("b", "t", 4),
    )


@pytest.mark.parametrize("factor", ["Mul (q, half)", "Mul (root, q)", "Div (q, root)"])
def test_a_linear_layer_takes_the_factor(factor: str) -> None:
    model = linear(factor)
    original = model.clone()
    assert len(FoldScales()(model).changes) == 1
    assert operators(model) == ["MatMul", "Add", "Identity"]
    assert difference(original, model, {"x": array(2, 5, 6)}) < 1e-5


SCORES = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 6] x, float[b, 2, 3, t] k, float[b, 2, 3, t] p, float[6, 6] w, float[6] c,
     float[2, 3] u, float[2, 3] v) => (float[b, 2, t, t] y)
<float root = {{1.7320508}}, int64[4] heads = {{0, -1, 2, 3}}> {{
  product = MatMul (x, w)
  q = Add (product, c)
  split = Reshape (q, heads)
  with_u = Add (split, u)
  with_v = Add (split, v)
  left = Transpose <perm = [0, 2, 1, 3]> (with_u)
  right = Transpose <perm = [0, 2, 1, 3]> (with_v)
  content = MatMul (left, k)
  positions = MatMul (right, p)
  scores = Add (content, positions)
  scaled = Div (scores, root)
  y = Softmax <axis = -1> ({last})
}}"""


def scores(last: str = "scaled") -> ir.Model:
    arrays = {"w": array(6, 6), "c": array(6), "u": array(2, 3), "v": array(2, 3)}
    return sized(SCORES.format(last=last), arrays, scores=("b", 2, "t", "t"))


def test_scores_of_attention_give_their_factor_to_the_queries() -> None:
    model = scores()
    original = model.clone()
    assert len(FoldScales()(model).changes) == 1
    assert "Div" not in operators(model)
    feeds = {"x": array(2, 5, 6), "k": array(2, 2, 3, 5), "p": array(2, 2, 3, 5)}
    assert difference(original, model, feeds) < 1e-6


# As exports write attention whose queries meet keys and positions with factors of their own: the
# queries cannot take either.
OWN_FACTORS = """
<ir_version: 10, opset_import: ["": 21]>
net (float[t, 6] x, float[r, 6] table, float[6, 6] wq, float[6, 6] wk, float[6, 6] wp, float[6] u,
     float[6] v) => (float[t, s] y)
<float root = {0.35}, float scale = {0.125}, int64[2] rows = {-1, 6},
 int64[1] begin = {0}, int64[1] end = {5}, int64[1] axis = {1}> {
  q = MatMul (x, wq)
  with_u = Add (q, u)
  scaled_u = Mul (with_u, root)
  left = Reshape (scaled_u, rows)
  k = MatMul (x, wk)
  right = Transpose <perm = [1, 0]> (k)
  content = MatMul (left, right)
  with_v = Add (q, v)
  p = MatMul (table, wp)
  turned = Transpose <perm = [1, 0]> (p)
  met = MatMul (with_v, turned)
  positions = Mul (met, scale)
  near = Slice (positions, begin, end, axis)
  y = Add (content, near)
}"""


def test_keys_and_positions_take_the_factors_that_queries_cannot() -> None:
    arrays = {name: array(6, 6) for name in ("wq", "wk", "wp")}
    model = sized(
        OWN_FACTORS, {**arrays, "u": array(6), "v": array(6)}, with_u=("t", 6), met=("t", "r")
    )
    original = model.clone()
    assert len(FoldScales()(model).changes) == 2
    assert "Mul" not in operators(model)
    assert difference(original, model, {"x": array(5, 6), "table": array(9, 6)}) < 1e-5


def test_weights_that_others_read_are_copied() -> None:
    model = linear("Mul (q, half)", "other = MatMul (x, w)  y = Add (z, other)")
    original = model.clone()
    assert FoldScales()(model).modified
    assert difference(original, model, {"x": array(2, 5, 6)}) < 1e-5


@pytest.mark.parametrize(
    ("users", "reason"),
    [
        ("y = Add (z, q)", "used by Add too"),
        ("f = Relu (q)  y = Add (z, f)", "used by Relu too"),
    ],
)
def test_a_value_with_other_uses_keeps_its_factor(users: str, reason: str) -> None:
    model = linear("Mul (q, half)", users)
    result = FoldScales()(model)
    assert not result.modified
    assert reason in result.refusals[0].reason


def test_what_is_not_linear_keeps_its_factor() -> None:
    model = sized(
        """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 4] x) => (float[b, 4] y)
    <float half = {0.5}> { r = Relu (x)  y = Mul (r, half) }""",
        {},
        r=("b", 4),
    )
    result = FoldScales()(model)
    assert not result.modified
    assert "Relu is in the way" in result.refusals[0].reason


def test_a_factor_that_adds_axes_stays() -> None:
    model = sized(
        """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[4] x, float[4, 4] w) => (float[1, 4] y)
    <float[1, 1] half = {0.5}> { p = MatMul (x, w)  y = Mul (p, half) }""",
        {"w": array(4, 4)},
        p=(4,),
    )
    assert not FoldScales()(model).modified

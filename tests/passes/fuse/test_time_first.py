"""Attention on [frames, batch, width], as torch's nn.MultiheadAttention writes it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.fuse.attention import FuseAttention

from ..graphs import Arrays, evaluate, operators, parse

WIDTH = 8
GRAPH = """
<ir_version: 10, opset_import: ["": 21]>
net (float[{x}] x, bool[{padded}] padded, float[8] norm_weight, float[8] norm_bias,
     float[8, 24] w_in, float[24] b_in, float[8, 8] w_out, float low) => (float[{x}] y)
{{
  n = LayerNormalization (x, norm_weight, norm_bias)
  product = MatMul (n, w_in)
  packed = Add (product, b_in)
  thirds = Constant <value_ints = [8, 8, 8]> ()
  q_all, k_all, v_all = Split <axis = -1> (packed, thirds)
  frames = Shape <start = 0, end = 1> (x)
  items = Shape <start = 1, end = 2> (x)
  one = Constant <value_ints = [1]> ()
  heads = Constant <value_ints = [2]> ()
  size = Constant <value_ints = [4]> ()
  width = Constant <value_ints = [8]> ()
  open = Constant <value_ints = [-1]> ()
  all_heads = Mul (items, heads)
  split = Concat <axis = 0> (frames, all_heads, size)
  q_turned = Reshape (q_all, split)
  k_turned = Reshape (k_all, split)
  v_turned = Reshape (v_all, split)
  q_rows = Transpose <perm = [1, 0, 2]> (q_turned)
  k_rows = Transpose <perm = [1, 0, 2]> (k_turned)
  v_rows = Transpose <perm = [1, 0, 2]> (v_turned)
  by_head = Concat <axis = 0> (items, heads, frames, size)
  zero = Constant <value_float = 0.0> ()
  of_keys = Where (padded, low, zero)
  wide_mask = Concat <axis = 0> (items, one, one, frames)
  laid_out = Reshape (of_keys, wide_mask)
  of_heads = Constant <value_ints = [1, 2, 1, 1]> ()
  mask = Expand (laid_out, of_heads)
  {scores}
  joined = Concat <axis = 0> (frames, items, width)
  context = Reshape (context_turned, joined)
  out = MatMul (context, w_out)
  y = Add (x, out)
}}"""
#: scaled_dot_product_attention, which nn.MultiheadAttention calls where nobody needs the weights.
FUSED = """
  q4 = Reshape (q_rows, by_head)
  k4 = Reshape (k_rows, by_head)
  v4 = Reshape (v_rows, by_head)
  k_last = Transpose <perm = [0, 1, 3, 2]> (k4)
  half = Constant <value_float = 0.5> ()
  q_scaled = Mul (q4, half)
  content = MatMul (q_scaled, k_last)
  masked = Add (content, mask)
  weights = Softmax <axis = -1> (masked)
  averaged = MatMul (weights, v4)
  context_turned = Transpose <perm = [2, 0, 1, 3]> (averaged)"""
#: Where they are needed: heads and items on one axis.
BATCHED = """
  half = Constant <value_float = 0.5> ()
  q_scaled = Mul (q_rows, half)
  k_last = Transpose <perm = [0, 2, 1]> (k_rows)
  content = MatMul (q_scaled, k_last)
  flat_mask = Concat <axis = 0> (all_heads, one, frames)
  mask_rows = Reshape (mask, flat_mask)
  masked = Add (content, mask_rows)
  weights = Softmax <axis = -1> (masked)
  averaged = MatMul (weights, v_rows)
  context_turned = Transpose <perm = [1, 0, 2]> (averaged)"""


def model_of(
    scores: str = FUSED, low: float = -np.inf, x: str = "t, b, 8", padded: str = "b, t"
) -> ir.Model:
    generator = np.random.default_rng(0)
    scale = np.float32(WIDTH**-0.5)
    model = parse(
        GRAPH.format(scores=scores, x=x, padded=padded),
        norm_weight=np.ones(WIDTH, np.float32),
        norm_bias=np.zeros(WIDTH, np.float32),
        w_in=generator.standard_normal((WIDTH, 3 * WIDTH), np.float32) * scale,
        b_in=generator.standard_normal(3 * WIDTH, np.float32),
        w_out=generator.standard_normal((WIDTH, WIDTH), np.float32) * scale,
        low=np.array(low, np.float32),
    )
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    return common.ShapeInferencePass()(model).model


def feeds_of(batch: int, frames: int) -> Arrays:
    x = np.random.default_rng(1).standard_normal((frames, batch, WIDTH), np.float32)
    lengths = np.linspace(frames, max(frames // 2, 1), batch).astype(int)
    return {"x": x, "padded": np.arange(frames)[None] >= lengths[:, None]}


@pytest.mark.parametrize("low", [-np.inf, -1e9])
@pytest.mark.parametrize("scores", [FUSED, BATCHED], ids=["four axes", "three axes"])
def test_same_outputs_in_one_operator(scores: str, low: float) -> None:
    original, model = (model_of(scores, low) for _ in range(2))
    (change,) = FuseAttention()(model).changes
    assert change.what == "attention in one operator, DotProductAttention"
    assert not {"Softmax", "Where", "Reshape", "Expand"} & set(operators(model))
    assert operators(model).count("Transpose") == 2  # the packed projection, the context
    for batch, frames in ((1, 1), (1, 9), (3, 7), (3, 3), (2, 40)):
        feeds = feeds_of(batch, frames)
        (expected,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_attention_over_the_second_axis() -> None:
    """What the axes are called says nothing: here queries see the other items at their time."""
    scores = (
        "by_item = Concat <axis = 0> (frames, items, heads, size)"
        + "".join(
            f"""
  {x}_apart = Reshape ({x}_turned, by_item)
  {x}4 = Transpose <perm = [0, 2, 1, 3]> ({x}_apart)"""
            for x in "qkv"
        )
        + FUSED[FUSED.index("\n  k_last") :]
        .replace("Add (content, mask)", "Identity (content)")
        .replace("[2, 0, 1, 3]", "[0, 2, 1, 3]")
    )
    original, model = (model_of(scores) for _ in range(2))
    assert FuseAttention()(model).modified
    assert "Transpose" not in operators(model)
    feeds = feeds_of(3, 7)
    (expected,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_a_mask_of_queries_is_refused() -> None:
    """[batch, frames] are keys to the operator."""
    turned = FUSED.replace(
        "masked = Add", "of_queries = Transpose <perm = [0, 1, 3, 2]> (mask) masked = Add"
    ).replace("(content, mask)", "(content, of_queries)")
    (refusal,) = FuseAttention()(model_of(turned, low=-1e9)).refusals
    assert "attention stays as it is" in refusal.reason


def test_one_mask_of_pairs_for_all_items_is_refused() -> None:
    """[queries, keys] in a model for one item, where a trial's mask [1, keys] would do as well."""
    pairs = FUSED.replace("(content, mask)", "(content, of_keys)")
    (refusal,) = FuseAttention()(model_of(pairs, x="t, 1, 8", padded="t, t")).refusals
    assert "not known to have the axes [batch, 1, queries, keys] or [batch, keys]" in refusal.reason

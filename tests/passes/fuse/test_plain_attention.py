"""Attention without positions in its scores: spellings, caches and rotated queries and keys."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.fuse.attention import FuseAttention
from confpress.passes.lower.float16 import Float16
from onnx_ir.passes.common import ShapeInferencePass

from ..graphs import Arrays, evaluate, operators
from .attention_graphs import HEADS, NO_CACHES, SIZE, WIDTH, attention

PAST = 3
INPUTS = """float[b, 3, 8] past_k, float[b, 3, 8] past_v, float[1, 1, t, 4] cos,
    bool[b, 1, t, s] mask, float bias, float low, float none"""
CACHES = "k_all = Concat <axis = 1> (past_k, k_new) v_all = Concat <axis = 1> (past_v, v_new)"
STILL = "q = Div (q_heads, root) k_turned = Div (k_heads, root)"
ROTATED = "q = Mul (q_heads, cos) k_turned = Mul (k_heads, cos)"
BIASED = "q = Add (q_heads, bias) k_turned = Identity (k_heads)"
CONTENT = "k = Transpose <perm = [0, 1, 3, 2]> (k_turned) content = MatMul (q, k)"
CHOSEN = "scaled = Mul (content, root) scores = Where (mask, low, scaled)"
ADDED = "summand = Where (mask, low, none) scores = Add (summand, content)"
OPEN = "scores = Div (content, root)"
CURVED = "curved = Sin (content) scores = Mul (curved, root)"


def model_of(
    caches: str, queries: str, scores: str, *, low: float = -1e9, inputs: str = INPUTS
) -> ir.Model:
    return attention(
        inputs,
        f"{queries} {CONTENT} {scores}",
        caches,
        bias=np.array(0.2, np.float32),
        low=np.array(low, np.float32),
        none=np.array(0, np.float32),
    )


def feeds_of(batch: int, frames: int, past: int) -> Arrays:
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
    original, model = (model_of(caches, queries, scores) for _ in range(2))
    result = FuseAttention()(model)
    assert [change.what for change in result.changes] == [
        "attention in one operator, DotProductAttention"
    ]
    assert not {"Softmax", "Where", "Div"} & set(operators(model))
    for batch, frames in ((1, 1), (2, 7)):
        feeds = feeds_of(batch, frames, PAST if caches is CACHES else 0)
        (expected,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("queries", "scores", "reason"),
    [
        (BIASED, OPEN, "a bias of its own"),
        (STILL, CURVED, "differs from the operator by"),
    ],
)
def test_other_scores_are_refused(queries: str, scores: str, reason: str) -> None:
    (refusal,) = FuseAttention()(model_of(NO_CACHES, queries, scores)).refusals
    assert "attention stays as it is" in refusal.reason
    assert reason in refusal.reason


@pytest.mark.parametrize("batch", [1, 2])
def test_a_batch_may_be_constant(batch: int) -> None:
    """Exports for one utterance write its batch into their Reshapes."""
    original, model = (common.ShapeInferencePass()(_for_batch(batch)).model for _ in range(2))
    assert FuseAttention()(model).modified
    feeds = feeds_of(batch, 7, 0)
    (expected,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def _for_batch(batch: int) -> ir.Model:
    model = attention(
        INPUTS.replace("b,", f"{batch},"),
        f"{STILL} {CONTENT} {CHOSEN}",
        split=np.array([batch, -1, HEADS, SIZE]),
        joined=np.array([batch, -1, WIDTH]),
        bias=np.array(0.2, np.float32),
        low=np.array(-1e9, np.float32),
        none=np.array(0, np.float32),
    )
    model.graph.inputs[0].shape = ir.Shape([batch, "t", WIDTH])
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    return model


def test_heads_that_share_keys_are_refused() -> None:
    """Their projection has the width of one head."""
    model = attention(
        f"{INPUTS}, float[8, 4] w_one, int64[4] one",
        f"{STILL} {CONTENT} {OPEN}".replace("k_heads", "k_one"),
        """k_all = Identity (k_new) v_all = Identity (v_new) one_all = MatMul (n, w_one)
            one4 = Reshape (one_all, one) k_one = Transpose <perm = [0, 2, 1, 3]> (one4)""",
        w_one=np.ones((WIDTH, SIZE), np.float32),
        one=np.array([0, -1, 1, SIZE]),
    )
    (refusal,) = FuseAttention()(model).refusals
    assert "other sizes than those that the operator expects" in refusal.reason


@pytest.mark.parametrize("mask", ["b, 1, t, s", "1, 1, 1, s"], ids=["of pairs", "of keys"])
@pytest.mark.parametrize("low", [-np.inf, -1e9])
def test_queries_without_keys_prove_nothing_about_the_others(mask: str, low: float) -> None:
    """Their context is NaN or a mean, whatever the scores are."""
    inputs = INPUTS.replace("b, 1, t, s", mask)
    chosen = "scores = Where (mask, low, scaled)"
    straight, curved = (
        model_of(NO_CACHES, STILL, f"{scores} {chosen}", low=low, inputs=inputs)
        for scores in ("scaled = Mul (content, root)", CURVED.replace("scores", "scaled"))
    )
    assert len(FuseAttention()(straight).changes) == 1
    (refusal,) = FuseAttention()(curved).refusals
    assert "differs from the operator by" in refusal.reason


def test_float16_is_refused() -> None:
    model = model_of(NO_CACHES, STILL, CHOSEN)
    Float16()(model)
    (refusal,) = FuseAttention()(ShapeInferencePass()(model).model).refusals
    assert "not in float32" in refusal.reason

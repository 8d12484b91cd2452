"""Fused operators written out again."""

from __future__ import annotations

import numpy as np
from confpress.passes.fuse.attention import FuseAttention
from confpress.passes.fuse.norms import FuseAddNorm
from confpress.passes.fuse.subsampling import FuseSubsampling
from confpress.passes.fuse.unfuse import Unfuse
from confpress.passes.lower.bfloat16_attention import BFloat16Attention
from confpress.passes.structure import Kind, recognise
from confpress.passes.structure.summary import summarise

from ..graphs import evaluate, operators
from . import test_norms, test_plain_attention, test_subsampling
from .relative_attention import relative_attention, relative_feeds


def test_written_out_attention_is_recognised_and_the_same() -> None:
    original, model = relative_attention(), relative_attention()
    FuseAttention()(model)
    assert not recognise(model).of_kind(Kind.SELF_ATTENTION)
    result = Unfuse()(model)
    assert result.changes[0].what == "1 fused operators written out"
    assert not model.functions
    (module,) = recognise(model).of_kind(Kind.SELF_ATTENTION)
    assert (module.attention.heads, module.attention.head_size) == (2, 3)
    feeds = relative_feeds(2, 9)
    (expected,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_written_out_attention_in_bfloat16_is_recognised() -> None:
    model = relative_attention()
    FuseAttention()(model)
    BFloat16Attention()(model)
    assert len(Unfuse()(model).changes) == 1
    assert not model.functions
    (module,) = recognise(model).of_kind(Kind.SELF_ATTENTION)
    assert (module.attention.heads, module.attention.head_size) == (2, 3)


def test_written_out_attention_without_positions_is_recognised() -> None:
    spelling = (test_plain_attention.CACHES, test_plain_attention.STILL, test_plain_attention.ADDED)
    original, model = (test_plain_attention.model_of(*spelling) for _ in range(2))
    FuseAttention()(model)
    Unfuse()(model)
    assert "DotProductAttention" not in operators(model)
    (module,) = recognise(model).of_kind(Kind.SELF_ATTENTION)
    assert (module.attention.heads, module.attention.head_size) == (2, 4)
    feeds = test_plain_attention.feeds_of(2, 9, test_plain_attention.PAST)
    (expected,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_written_out_sums_join_the_stream_again() -> None:
    model = test_norms._model("y = Relu (n3)")
    FuseAddNorm()(model)
    Unfuse()(model)
    assert "AddNorm" not in operators(model)
    assert len(recognise(model).of_kind(Kind.FEED_FORWARD)) == 2


def test_written_out_convolutions_of_codes_count_as_integer() -> None:
    model = test_subsampling.Net(convolutions=((16, 1, 2), (16, 1, 2))).model()
    FuseSubsampling()(model)
    Unfuse()(model)
    layers = [
        layer
        for module in summarise(model, recognise(model)).modules
        for layer in module.layers
        if layer.operator == "Conv"
    ]
    assert [(layer.format, layer.activations) for layer in layers] == [
        ("float32", "float"),
        ("int8", "dynamic"),
    ]


def test_a_model_without_fused_operators_is_not_touched() -> None:
    model = test_norms._model("y = Relu (n3)")
    assert not Unfuse()(model).modified

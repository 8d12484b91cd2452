"""Attention in one operator: what it computes, in how many nodes, and what is left alone."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.fuse.attention import FuseAttention
from confpress.passes.rewrites.sizes.shapes import infer_shapes
from confpress.passes.rewrites.sizes.static_sizes import StaticSizes
from confpress.runtime.kernels import library_path

from ..graphs import evaluate, operators
from .relative_attention import (
    GRAPH,
    HEADS,
    NEMO_STREAM,
    SIZE,
    WIDTH,
    relative_attention,
    relative_feeds,
    with_stored_positions,
)


@pytest.mark.parametrize(
    "after", ["weights = Where (mask, none, soft)", "weights = Identity (soft)"]
)
def test_same_outputs_in_one_operator(after: str) -> None:
    original, model = relative_attention(after=after), relative_attention(after=after)
    result = FuseAttention()(model)
    assert [change.where for change in result.changes] == ["encoder.layers.0.self_attn"]
    assert "Softmax" not in operators(model)
    assert "Reshape" not in operators(model)
    assert operators(model).count("RelPosAttention") == 1
    for batch, frames in ((1, 1), (2, 7), (1, 30)):
        feeds = relative_feeds(batch, frames)
        (expected,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("many", [True, False], ids=["2 keys - 1", "queries + keys - 1"])
def test_streams_may_have_more_distances_than_the_operator_reads(many: bool) -> None:
    """As NeMo's; where the graph takes no others than the operator, nothing is cut."""
    graph = NEMO_STREAM
    if not many:
        graph = graph.replace("Shape <start = 3> (content)", "Sub (wide, t)")
    original, model = relative_attention(graph=graph), relative_attention(graph=graph)
    assert FuseAttention()(model).modified
    assert operators(model).count("RelPosAttention") == 1
    assert operators(model).count("Slice") == many
    for frames, past in ((1, 4), (5, 3)):
        feeds = dict(relative_feeds(2, frames + past))
        feeds["mask"] = feeds["mask"][:, :, :frames]
        feeds["past"], feeds["x"] = feeds["x"][:, :past], feeds["x"][:, past:]
        if not many:
            feeds["pe"] = feeds["pe"][:, past:]
        expected, y = evaluate(original, feeds), evaluate(model, feeds, str(library_path()))
        np.testing.assert_allclose(y[0], expected[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_positions_may_have_no_batch(packed: bool) -> None:
    """A table that the model computes for itself is [distances, width], for all layers or one."""
    graph = GRAPH.replace("float[1, r, 6] pe", "float[r, 6] pe")
    graph = graph.replace("p4 = Reshape (p_all, split)", "p4 = Reshape (p_all, apart)")
    graph = graph.replace("pads{declared}", "pads, int64[4] apart, int64[2] halves{declared}")
    sizes = {"apart": np.array([1, -1, HEADS, SIZE]), "halves": np.array([WIDTH, WIDTH])}
    if packed:
        graph = graph.replace("float[6, 6] w_p,", "float[6, 12] w_p,").replace(
            "p_all = MatMul (pe, w_p)",
            "all = MatMul (pe, w_p) other, p_all = Split <axis = -1> (all, halves)",
        )
        sizes["w_p"] = np.random.default_rng(1).standard_normal((WIDTH, 2 * WIDTH), np.float32)
    original, model = (relative_attention(graph=graph, **sizes) for _ in range(2))
    common.ShapeInferencePass()(model)
    FuseAttention()(model)
    assert operators(model).count("RelPosAttention") == 1
    for batch, frames in ((1, 1), (2, 7)):
        feeds = dict(relative_feeds(batch, frames))
        feeds["pe"] = feeds["pe"][0]
        expected, y = evaluate(original, feeds), evaluate(model, feeds, str(library_path()))
        np.testing.assert_allclose(y[0], expected[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("frames", "past"), [(7, 0), (5, 3)])
def test_positions_may_be_stored_for_constant_frames(frames: int, past: int) -> None:
    """Where a model is exported for a number of frames, their projections are folded."""
    distances = 2 * (frames + past) - 1
    graph = with_stored_positions(NEMO_STREAM if past else GRAPH, 1, distances)
    stored = np.random.default_rng(1).standard_normal((1, HEADS, SIZE, distances), np.float32)
    original, model = (relative_attention(graph=graph, p=stored) for _ in range(2))
    sizes = {"t": frames, "s": frames + past, "c": past} if past else {"t": frames}
    StaticSizes(sizes)(model)
    infer_shapes(model)
    assert FuseAttention()(model).modified
    assert operators(model).count("RelPosAttention") == 1
    for batch in (1, 3):
        feeds = dict(relative_feeds(batch, frames + past))
        del feeds["pe"]
        if past:
            feeds["mask"] = feeds["mask"][:, :, :frames]
            feeds["past"], feeds["x"] = feeds["x"][:, :past], feeds["x"][:, past:]
        expected, y = evaluate(original, feeds), evaluate(model, feeds, str(library_path()))
        np.testing.assert_allclose(y[0], expected[0], rtol=0, atol=1e-5)


def test_frames_of_the_only_item_may_be_rows() -> None:
    """As onnxsim leaves linear layers of a batch of one, for Gemm; positions are folded."""
    frames = 7
    graph = with_stored_positions(GRAPH, 1, 2 * frames - 1)
    for old, new in {
        "MatMul (n, w_": "MatMul (rows, w_",
        "q_all =": "rows = Reshape (n, flat_shape)\n  q_all =",
        "out = MatMul (flat, w_out)": "o = MatMul (flat, w_out)  out = Reshape (o, one_item)",
        "int64[3] joined": "int64[2] joined, int64[2] flat_shape, int64[3] one_item",
    }.items():
        graph = graph.replace(old, new)
    sizes = {
        "p": np.random.default_rng(1).standard_normal((1, HEADS, SIZE, 2 * frames - 1), np.float32),
        "split": np.array([1, frames, HEADS, SIZE]),
        "joined": np.array([frames, WIDTH]),
        "flat_shape": np.array([frames, WIDTH]),
        "one_item": np.array([1, frames, WIDTH]),
    }
    original, model = (relative_attention(graph=graph, **sizes) for _ in range(2))
    StaticSizes({"b": 1, "t": frames})(model)
    infer_shapes(model)
    assert FuseAttention()(model).modified
    feeds = {name: array for name, array in relative_feeds(1, frames).items() if name != "pe"}
    expected, y = evaluate(original, feeds), evaluate(model, feeds, str(library_path()))
    np.testing.assert_allclose(y[0], expected[0], rtol=0, atol=1e-5)


def test_stored_positions_of_every_item_are_refused() -> None:
    graph = with_stored_positions(GRAPH, batch=2, distances=13)
    model = relative_attention(graph=graph, p=np.ones((2, HEADS, SIZE, 13), np.float32))
    (refusal,) = FuseAttention()(model).refusals
    assert "stored positions [2, 2, 3, 13] do not have the axes" in refusal.reason


def test_attention_beside_a_convolutional_gate() -> None:
    original, model = relative_attention(gated=True), relative_attention(gated=True)
    result = FuseAttention()(model)
    assert [change.where for change in result.changes] == ["encoder.layers.0.branches"]
    assert operators(model).count("RelPosAttention") == 1
    feeds = relative_feeds(2, 7)
    (expected,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_scores_by_position_may_have_a_factor_of_their_own() -> None:
    """As scaled_dot_product_attention is exported: a root on either side of the product."""

    def model() -> ir.Model:
        made = relative_attention()
        product = next(node for node in made.graph if node.outputs[0].name == "content")
        for index, factor in enumerate((0.7, 0.4)):
            scaled = ir.node("Mul", [product.inputs[index], ir.val(f"factor{index}")])
            scaled.inputs[1].const_value = ir.tensor(np.float32(factor))
            made.graph.register_initializer(scaled.inputs[1])
            made.graph.insert_before(product, scaled)
            product.replace_input_with(index, scaled.outputs[0])
        return made

    original, fused = model(), model()
    assert FuseAttention()(fused).modified
    assert "Softmax" not in operators(fused)
    for batch, frames in ((1, 1), (2, 7)):
        feeds = relative_feeds(batch, frames)
        (expected,), (y,) = evaluate(original, feeds), evaluate(fused, feeds)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_queries_scaled_before_their_bias() -> None:
    """icefall scales the projection: its bias is then that of unscaled queries, divided."""

    def model() -> ir.Model:
        made = relative_attention()
        bias = next(node for node in made.graph if node.outputs[0].name == "qu4")
        stored = ir.val("half", const_value=ir.tensor(np.float32(0.5)))
        half = ir.node("Mul", [bias.inputs[0], stored])
        made.graph.register_initializer(stored)
        half.outputs[0].name = "halved"
        made.graph.insert_before(bias, half)
        bias.replace_input_with(0, half.outputs[0])
        return made

    original, fused = model(), model()
    assert FuseAttention()(fused).modified
    for batch, frames in ((1, 1), (2, 7)):
        feeds = relative_feeds(batch, frames)
        (expected,), (y,) = evaluate(original, feeds), evaluate(fused, feeds)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_another_shift_is_refused() -> None:
    model = relative_attention(first="two")
    result = FuseAttention()(model)
    assert not result.modified
    (refusal,) = result.refusals
    assert refusal.where == "encoder.layers.0.self_attn"
    assert "attention stays as it is" in refusal.reason


def test_two_masks_are_refused() -> None:
    model = relative_attention(after="weights = Identity (soft)")
    where = next(node for node in model.graph if node.op_type == "Where")
    other = ir.val("mask2", ir.DataType.BOOL, ["b", 1, "t", "t"])
    model.graph.inputs.append(other)
    second = ir.node("Where", [other, where.inputs[1], where.outputs[0]])
    second.outputs[0].name = "filled_twice"
    model.graph.insert_after(where, second)
    softmax = next(node for node in model.graph if node.op_type == "Softmax")
    softmax.replace_input_with(0, second.outputs[0])
    (refusal,) = FuseAttention()(model).refusals
    assert "2 masks are applied" in refusal.reason

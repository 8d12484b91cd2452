"""Attention block by block of queries: same outputs, still a module, and what stays together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx.compose
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.lower.float16 import Float16
from confpress.passes.rewrite import replace_value
from confpress.passes.rewrites.attention.query_blocks import QueryBlocks
from confpress.passes.rewrites.attention.relative_shift import RelativeShift
from confpress.passes.rewrites.sizes.static_sizes import StaticSizes
from confpress.passes.structure import Kind, Position, recognise

from ...fuse.attention_graphs import NO_CACHES
from ...fuse.relative_attention import (
    GRAPH,
    HEADS,
    SIZE,
    relative_attention,
    relative_feeds,
    with_stored_positions,
)
from ...fuse.test_plain_attention import (
    ADDED,
    CACHES,
    CHOSEN,
    INPUTS,
    OPEN,
    PAST,
    ROTATED,
    STILL,
    feeds_of,
    model_of,
)
from ...graphs import Arrays, difference, evaluate, operators

Made = Callable[[], ir.Model]


def _relative() -> ir.Model:
    model = relative_attention()
    RelativeShift()(model)
    return common.ShapeInferencePass()(model).model


def _split(make: Made, blocks: int = 4) -> ir.Model:
    model = make()
    result = QueryBlocks(blocks)(model)
    assert [change.where for change in result.changes] == ["encoder.layers.0.self_attn"]
    assert operators(model).count("Softmax") == blocks
    return model


@pytest.mark.parametrize("blocks", [2, 4])
@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (2, 3), (1, 4), (2, 9), (1, 30)])
def test_relative_positions(blocks: int, batch: int, frames: int) -> None:
    """Fewer frames than blocks leave empty blocks."""
    model = _split(_relative, blocks)
    assert difference(_relative(), model, relative_feeds(batch, frames)) < 1e-5


@pytest.mark.parametrize("stored", [False, True])
def test_relative_positions_of_constant_frames(*, stored: bool) -> None:
    frames = 9
    graph, arrays = GRAPH, {}
    if stored:
        shape = (1, HEADS, SIZE, 2 * frames - 1)
        graph = with_stored_positions(GRAPH, 1, shape[-1])
        arrays["p"] = np.random.default_rng(1).standard_normal(shape, np.float32)

    def made() -> ir.Model:
        model = relative_attention(graph=graph, **arrays)
        RelativeShift()(model)
        StaticSizes({"t": frames} if stored else {"t": frames, "r": 2 * frames - 1})(model)
        return common.ShapeInferencePass()(model).model

    model = _split(made)
    feeds = dict(relative_feeds(2, frames))
    if stored:
        del feeds["pe"]
    assert difference(made(), model, feeds) < 1e-5


@pytest.mark.parametrize(
    ("caches", "queries", "scores"),
    [
        (NO_CACHES, STILL, CHOSEN),
        (CACHES, STILL, ADDED),
        (CACHES, STILL, OPEN),
        (NO_CACHES, ROTATED, CHOSEN),
    ],
)
def test_without_positions(caches: str, queries: str, scores: str) -> None:
    model = _split(lambda: model_of(caches, queries, scores))
    original = model_of(caches, queries, scores)
    names = {value.name for value in original.graph.inputs}
    for batch, frames in ((1, 1), (2, 7), (1, 30)):
        feeds = feeds_of(batch, frames, PAST if caches == CACHES else 0)
        given: Arrays = {name: array for name, array in feeds.items() if name in names}
        (expected,), (y,) = evaluate(original, given), evaluate(model, given)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 9])
def test_the_rows_of_a_mask_need_not_be_known(rows: int) -> None:
    """Torch's own attention turns a mask of keys into [batch, heads, -1, keys]."""
    inputs = INPUTS.replace("b, 1, t, s", "b, 1, r, s")
    model, original = (model_of(NO_CACHES, STILL, CHOSEN, inputs=inputs) for _ in range(2))
    assert QueryBlocks()(model).changes
    feeds = feeds_of(2, 9, 0)
    feeds["mask"] = feeds["mask"][:, :, :rows]
    np.testing.assert_allclose(*evaluate(original, feeds), *evaluate(model, feeds), atol=1e-5)


def test_it_is_still_one_module() -> None:
    model = _split(_relative)
    (module,) = recognise(model).of_kind(Kind.SELF_ATTENTION)
    assert (module.attention.heads, module.attention.head_size) == (2, 3)
    assert module.attention.position is Position.RELATIVE


def test_a_block_meets_the_distances_of_its_own_rows() -> None:
    """The products with positions are those of T / 4 rows and T + T / 4 - 1 distances."""
    model = _split(_relative)
    products = [n for n in model.graph if (n.outputs[0].name or "").startswith("distance.block")]
    model.graph.outputs.extend(product.outputs[0] for product in products)
    for value in model.graph.outputs[1:]:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    _, *scores = evaluate(model, relative_feeds(1, 30))
    assert [score.shape[2:] for score in scores] == [(8, 37), (8, 37), (8, 37), (6, 35)]


def _why_not(model: ir.Model) -> str:
    before = operators(model)
    result = QueryBlocks()(model)
    assert not result.changes
    assert operators(model) == before
    return result.refusals[0].reason


def test_a_shift_that_counts_keys_by_queries_is_refused() -> None:
    """Exports take as many keys as there are rows of scores; a trial finds it."""
    model = common.ShapeInferencePass()(relative_attention()).model
    assert "computes something else in a trial" in _why_not(model)


def test_float16_is_refused() -> None:
    model = model_of(NO_CACHES, STILL, CHOSEN)
    Float16()(model)
    assert "float32" in _why_not(common.ShapeInferencePass()(model).model)


def test_unknown_shapes_are_refused() -> None:
    model = _relative()
    mask = next(value for value in model.graph.inputs if value.name == "mask")
    mask.shape = None
    assert "'mask' is not known to have four axes" in _why_not(model)


def test_probabilities_that_are_read_elsewhere_are_refused() -> None:
    model = _relative()
    (softmax,) = (node for node in model.graph if node.op_type == "Softmax")
    after = ir.node("ReduceMax", [softmax.outputs[0]], {"keepdims": 0})
    after.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    model.graph.append(after)
    model.graph.outputs.append(after.outputs[0])
    assert "read elsewhere" in _why_not(model)


def _two_layers(tables: int) -> ir.Model:
    """The module behind itself; both read one table of positions, or each its own."""
    first = ir.to_proto(relative_attention())
    second = onnx.compose.add_prefix(first, "b_")
    model = ir.from_proto(onnx.compose.merge_models(first, second, io_map=[("y", "b_x")]))
    inputs = {value.name: value for value in model.graph.inputs}
    for name in ("mask", "pe")[: 3 - tables]:
        replace_value(inputs[f"b_{name}"], inputs[name])
        model.graph.inputs.remove(inputs[f"b_{name}"])
    RelativeShift()(model)
    return common.ShapeInferencePass()(model).model


def test_sizes_are_computed_once_for_layers_with_one_table() -> None:
    feeds = relative_feeds(2, 9)
    counts = {}
    for tables in (1, 2):
        model = _two_layers(tables)
        assert len(QueryBlocks()(model).changes) == 2
        counts[tables] = operators(model).count("Shape")
        given = feeds if tables == 1 else {**feeds, "b_pe": feeds["pe"]}
        assert difference(_two_layers(tables), model, given) < 1e-5
    assert counts[1] * 2 == counts[2]


def test_scores_that_are_not_shifted_stay() -> None:
    model = relative_attention()
    shifted = next(n for n in model.graph if n.op_type == "Pad").inputs[0]
    last = [n for n in model.graph if n.op_type == "Slice"][-1]
    replace_value(last.outputs[0], shifted)
    common.RemoveUnusedNodesPass()(model)
    result = QueryBlocks()(common.ShapeInferencePass()(model).model)
    assert not result.modified
    assert "the sizes of queries, keys and distances" in result.refusals[0].reason

"""Relative shift: the same elements at every length, without padding."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.rewrites.attention.relative_shift import RelativeShift

from tests.passes.graphs import difference, evaluate, operators, parse

SHIFT = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, h, t, p] x, int64[8] pads) => (float[b, h, t, k] y)
{
  padded = Pad (x, pads)
  b = Shape <start = 0, end = 2> (x)
  t = Shape <start = 2, end = 3> (x)
  p = Shape <start = 3, end = 4> (x)
  one = Constant <value_ints = [1]> ()
  zero = Constant <value_ints = [0]> ()
  two = Constant <value_ints = [2]> ()
  three = Constant <value_ints = [3]> ()
  most = Constant <value_ints = [9223372036854775807]> ()
  wide = Add (p, one)
  turned = Concat <axis = 0> (b, wide, t)
  flat = Reshape (padded, turned)
  dropped = Slice (flat, one, most, two, one)
  shape = Concat <axis = 0> (b, t, p)
  back = Reshape (dropped, shape)
  keys = Sub (wide, t)
  y = Slice (back, zero, keys, three, one)
}"""
PADS = np.array([0, 0, 0, 1, 0, 0, 0, 0], np.int64)


def scores(frames: int, past: int = 0) -> np.ndarray:
    shape = (2, 3, frames, past + 2 * frames - 1)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("past", [0, 1, 20])
@pytest.mark.parametrize("frames", [1, 2, 3, 40])
def test_same_elements_without_pad(frames: int, past: int) -> None:
    model, original = parse(SHIFT, pads=PADS), parse(SHIFT, pads=PADS)
    assert RelativeShift()(model).modified
    assert "Pad" not in operators(model)
    assert difference(model, original, {"x": scores(frames, past)}) == 0


@pytest.mark.parametrize("past", [0, 1, 20])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_a_stream_may_have_more_distances_than_it_needs(frames: int, past: int) -> None:
    """As NeMo's, which takes as many columns as scores of keys have, of twice as many distances."""
    text = SHIFT.replace("int64[8] pads", "float[b, h, t, k] content, int64[8] pads")
    text = text.replace("keys = Sub (wide, t)", "keys = Shape <start = 3> (content)")
    model, original = parse(text, pads=PADS), parse(text, pads=PADS)
    assert RelativeShift()(model).modified
    content = np.zeros((2, 3, frames, frames + past), np.float32)
    feeds = {"x": scores(frames, 2 * past), "content": content}
    assert difference(model, original, feeds) == 0


def test_as_many_keys_as_queries_are_told_by_the_distances() -> None:
    """So that a block of queries is shifted by the same nodes."""
    text = SHIFT.replace("int64[8] pads", "float[b, h, t, t] content, int64[8] pads")
    text = text.replace("keys = Sub (wide, t)", "keys = Shape <start = 3> (content)")
    text = text.replace("y = Slice", "columns = Slice").replace(
        "}", "  y = Add (content, columns)\n}"
    )
    model, original = parse(text, pads=PADS), parse(text, pads=PADS)
    assert RelativeShift()(model).modified
    (content,) = [value for value in model.graph.inputs if value.name == "content"]
    assert [user.op_type for user in content.consumers()] == ["Add"]
    feeds = {"x": scores(7), "content": np.zeros((2, 3, 7, 7), np.float32)}
    assert difference(model, original, feeds) == 0


def test_shapes_may_say_that_there_are_as_many_columns_as_queries() -> None:
    """Those of torch's newer exporter do; the frames that it counts by are the model's own."""
    text = SHIFT.replace("y)", "y, int64[1] frames)").replace(
        "float[b, h, t, k]", "float[b, h, t, t]"
    )
    text = text.replace("int64[8] pads", "float[b, 8, t] features, int64[8] pads")
    text = text.replace("keys = Sub (wide, t)", "frames = Shape <start = 2> (features)")
    text = text.replace("Slice (back, zero, keys,", "Slice (back, zero, frames,")
    model, original = parse(text, pads=PADS), parse(text, pads=PADS)
    assert RelativeShift()(model).modified
    (frames,) = [value for value in model.graph.outputs if value.name == "frames"]
    assert not frames.consumers()
    feeds = {"x": scores(7), "features": np.zeros((2, 8, 7), np.float32)}
    assert difference(model, original, feeds) == 0


def test_columns_are_counted_by_the_scores_that_the_shifted_ones_are_added_to() -> None:
    """Torch's newer exporter computes their number from the frames that the model is given."""
    text = SHIFT.replace("int64[8] pads", "float[b, h, t, k] content, float[k] f, int64[8] pads")
    text = text.replace("keys = Sub (wide, t)", "keys = Shape (f)").replace(
        "=> (float[b, h, t, k] y)", "=> (float[b, h, t, k] z)"
    )
    text = text.replace(
        "(back, zero, keys, three, one)", "(back, zero, keys, three, one) z = Add (content, y)"
    )
    model, original = parse(text, pads=PADS), parse(text, pads=PADS)
    for node in model.graph:
        if node.outputs[0].name == "y":
            node.outputs[0].shape = ir.Shape(["b", "h", "t", "k"])
    assert RelativeShift()(model).modified
    assert not model.graph.inputs[2].consumers()
    content = np.ones((2, 3, 7, 7), np.float32)
    feeds = {"x": scores(7), "content": content, "f": content[0, 0, 0]}
    assert difference(model, original, feeds) == 0


@pytest.mark.parametrize(
    "zeros",
    [
        "ConstantOfShape (column)",
        "Expand (nothing, column)",
    ],
)
def test_a_column_of_zeros_is_a_pad(zeros: str) -> None:
    """As ESPnet and wav2vec2-conformer write it."""
    text = SHIFT.replace(
        "padded = Pad (x, pads)",
        f"""before = Shape <start = 0, end = 3> (x)
  single = Constant <value_ints = [1]> ()
  nothing = Constant <value_float = 0.0> ()
  column = Concat <axis = 0> (before, single)
  zeros = {zeros}
  padded = Concat <axis = -1> (zeros, x)""",
    ).replace(", int64[8] pads", "")
    model, original = parse(text), parse(text)
    next(n for n in model.graph if n.outputs[0].name == "zeros").outputs[0].shape = ir.Shape(
        ["b", "h", "t", 1]
    )
    assert RelativeShift()(model).modified
    assert operators(model).count("Concat") == 1
    assert difference(model, original, {"x": scores(7)}) == 0


def test_a_column_of_ones_is_not() -> None:
    text = SHIFT.replace(
        "padded = Pad (x, pads)",
        """before = Shape <start = 0, end = 3> (x)
  single = Constant <value_ints = [1]> ()
  column = Concat <axis = 0> (before, single)
  ones = ConstantOfShape <value = float[1] {1.0}> (column)
  padded = Concat <axis = -1> (ones, x)""",
    ).replace(", int64[8] pads", "")
    model = parse(text)
    next(n for n in model.graph if n.outputs[0].name == "ones").outputs[0].shape = ir.Shape(
        ["b", "h", "t", 1]
    )
    assert not RelativeShift()(model).modified


def test_result_is_the_shift_of_transformer_xl() -> None:
    model = parse(SHIFT, pads=PADS)
    RelativeShift()(model)
    x = scores(5)
    (y,) = evaluate(model, {"x": x})
    for i in range(5):
        for j in range(5):
            assert np.array_equal(y[..., i, j], x[..., i, 4 - i + j])


def test_a_column_behind_shifts_otherwise() -> None:
    model = parse(SHIFT, pads=np.roll(PADS, 4))
    assert not RelativeShift()(model).modified


def test_the_pad_may_say_which_axis() -> None:
    text = SHIFT.replace("int64[8]", "int64[2]").replace("Pad (x, pads)", "Pad (x, pads, , last)")
    text = text.replace("  padded", "  last = Constant <value_ints = [-1]> ()\n  padded")
    model, original = (parse(text, pads=np.array([1, 0])) for _ in range(2))
    assert RelativeShift()(model).modified
    assert difference(model, original, {"x": scores(7)}) == 0


def test_other_pads_are_refused() -> None:
    model = parse(
        """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 2, 3, 4] x, int64[8] pads) => (float[b, 2, 3, 5] y) { y = Pad (x, pads) }""",
        pads=np.array([0, 0, 0, 1, 0, 0, 0, 0], np.int64),
    )
    result = RelativeShift()(model)
    assert not result.modified
    assert "Reshape" in result.refusals[0].reason


def test_frames_before_a_causal_convolution_are_no_scores() -> None:
    model = parse(
        """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 4, t] x, int64[6] pads) => (float[b, 4, u] y) { y = Pad (x, pads) }""",
        pads=np.array([0, 0, 2, 0, 0, 0], np.int64),
    )
    assert not RelativeShift()(model).refusals

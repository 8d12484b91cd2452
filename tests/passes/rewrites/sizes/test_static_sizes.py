"""Free axes become constant, and what is computed of them is folded."""

from __future__ import annotations

import numpy as np
import pytest
from confpress.passes.base import run
from confpress.passes.errors import ConfpressError
from confpress.passes.rewrites.simplify import Simplify
from confpress.passes.rewrites.sizes.static_sizes import StaticSizes

from ...graphs import evaluate, operators, parse

MODEL = """<ir_version: 10, opset_import: ["": 18]>
g (float[batch, time, 4] x) => (float[batch, time, 4] y) <int64 zero = {0}, int64 one = {1}> {
    sizes = Shape (x)
    axis = Constant <value_int = 1> ()
    frames = Gather (sizes, axis)
    steps = Range (zero, frames, one)
    places = Cast <to = 1> (steps)
    last = Constant <value_ints = [1]> ()
    column = Unsqueeze (places, last)
    y = Add (x, column)
}"""


def test_what_follows_of_a_size_is_folded() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32)
    expected = evaluate(parse(MODEL), {"x": x})
    model = parse(MODEL)
    run([StaticSizes({"batch": 2, "time": 5}), Simplify()], model)
    assert operators(model) == ["Add"]
    assert [str(axis) for axis in model.graph.inputs[0].shape or ()] == ["2", "5", "4"]
    np.testing.assert_array_equal(evaluate(model, {"x": x})[0], expected[0])


def test_an_output_may_call_other_frames_by_the_name_of_the_inputs() -> None:
    """As icefall's scripts do, of frames behind the subsampling."""
    model = parse(
        """<ir_version: 10, opset_import: ["": 18]>
g (float[batch, 4, time] x, float[3, 4, 3] w) => (float[batch, 3, time] y, int64[3] sizes) {
    y = Conv <strides = [2]> (x, w)
    sizes = Shape (y)
}""",
        w=np.ones((3, 4, 3), np.float32),
    )
    run([StaticSizes({"batch": 2, "time": 9}), Simplify()], model)
    y, sizes = evaluate(model, {"x": np.ones((2, 4, 9), np.float32)})
    assert y.shape == tuple(sizes) == model.graph.outputs[0].shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [({"frames": 5}, "there are: batch, time"), ({"time": 0}, "cannot have size 0")],
)
def test_refused(sizes: dict[str, int], reason: str) -> None:
    with pytest.raises(ConfpressError, match=reason):
        run([StaticSizes(sizes)], parse(MODEL))

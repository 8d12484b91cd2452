"""Shapes behind a Slice whose end is computed."""

from __future__ import annotations

from confpress.passes.rewrites.sizes.shapes import infer_shapes

from ...graphs import parse


def test_axes_that_are_not_cut_keep_their_sizes() -> None:
    model = parse("""
<ir_version: 10, opset_import: ["": 21]>
net (float[1, 100, 8] table, float[B, T, 8] x) => (float[B, T, 8] y)
<int64[1] zero = {0}, int64[1] one = {1}> {
  frames = Shape <start = 1, end = 2> (x)
  cut = Slice (table, zero, frames, one)
  more = Relu (cut)
  again = Slice (more, zero, frames, one)
  y = Add (x, again)
}""")
    infer_shapes(model)
    shapes = {v.name: v.shape for node in model.graph for v in node.outputs}
    for name in ("cut", "more", "again"):
        shape = shapes[name]
        assert shape is not None
        assert (shape[0], shape[2]) == (1, 8)
        assert not isinstance(shape[1], int)

"""Sizes that a part of a graph takes from outside."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.fuse.region import Region, RegionError
from onnx_ir.passes.common import ShapeInferencePass

from ..graphs import parse


def part(x: str, beside: str) -> tuple[Region, ir.Value]:
    """``y`` is ``x`` as rows of one frame of all items; the sizes are those of ``beside``."""
    model = parse(
        f"""<ir_version: 10, opset_import: ["": 21]>
        net (float[{x}] x, float[{beside}] beside) => (float[r, c] y)
        {{
          sizes = Shape (beside)
          first = Constant <value_ints = [0]> ()
          second = Constant <value_ints = [1]> ()
          third = Constant <value_ints = [2]> ()
          frames = Gather (sizes, first)
          items = Gather (sizes, second)
          width = Gather (sizes, third)
          columns = Mul (items, width)
          joined = Concat <axis = 0> (frames, columns)
          y = Reshape (x, joined)
        }}"""
    )
    graph = ShapeInferencePass()(model).model.graph
    source = next(value for value in graph.inputs if value.name == "x")
    return Region(graph, [source], graph.outputs[0]), source


@pytest.mark.parametrize(
    ("x", "beside"),
    [
        pytest.param("t, b, 4", "t, b, 4", id="names"),
        pytest.param("t, b, 4", "5, b, 4", id="other numbers"),
        pytest.param("7, b, 4", "7, b, 4", id="a graph for other frames"),
    ],
)
def test_axes_of_one_name_have_one_size(x: str, beside: str) -> None:
    region, source = part(x, beside)
    array = np.arange(5 * 3 * 4, dtype=np.float32).reshape(5, 3, 4)
    np.testing.assert_array_equal(region.evaluate({source: array}), array.reshape(5, 12))


@pytest.mark.parametrize(
    ("x", "beside"),
    [
        pytest.param("t, b, 4", "t, c, 4", id="another name"),
        pytest.param("t, t, 4", "t, t, 4", id="one name for two sizes"),
        pytest.param("t, 7, 4", "t, 7, 4", id="a graph for other items"),
    ],
)
def test_other_sizes_are_not_known(x: str, beside: str) -> None:
    region, source = part(x, beside)
    with pytest.raises(RegionError, match="does not keep the first sizes"):
        region.evaluate({source: np.ones((5, 3, 4), np.float32)})

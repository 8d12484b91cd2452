"""Square layers of rows become layers of frames; others stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.base import LAYER_KEY
from confpress.passes.linear import matmul_layers
from confpress.passes.rewrites.layers.linear_rows import LinearRows

from tests.passes.graphs import difference, operators, parse

RANDOM = np.random.default_rng(0)


def layer(units: int = 4, last: int = 4) -> ir.Model:
    model = parse(
        f"""
    <ir_version: 10, opset_import: ["": 21]>
    net (float[t, n, 2, 2] x, float[4, {units}] w, float[{units}] b) => (float[t, n, u] y)
    {{
      frames = Shape <end = 2> (x)
      width = Constant <value_ints = [{last}]> ()
      sizes = Concat <axis = 0> (frames, width)
      flat = Constant <value_ints = [-1, 4]> ()
      rows = Reshape (x, flat)
      product = MatMul (rows, w)
      result = Add (product, b)
      y = Reshape (result, sizes)
    }}""",
        w=RANDOM.standard_normal((4, units)).astype(np.float32),
        b=RANDOM.standard_normal(units).astype(np.float32),
    )
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    return common.ShapeInferencePass()(model).model


def test_the_axes_come_back_before_the_layer() -> None:
    model = layer()
    next(n for n in model.graph if n.op_type == "MatMul").metadata_props[LAYER_KEY] = "linear_out"
    original = model.clone()
    (change,) = LinearRows()(model).changes
    assert [each.id for each in matmul_layers(model.graph)] == [change.where] == ["linear_out"]
    assert operators(model)[-3:] == ["Reshape", "MatMul", "Add"]
    for sizes in ((1, 4), (7, 3)):
        x = RANDOM.standard_normal((*sizes, 2, 2)).astype(np.float32)
        assert difference(model, original, {"x": x}) < 1e-6


@pytest.mark.parametrize(("units", "last"), [(6, 6), (4, 2), (4, -1)])
def test_other_layers_stay(units: int, last: int) -> None:
    """Of another width, and rows whose width is cut or not known."""
    assert not LinearRows()(layer(units=units, last=last)).modified

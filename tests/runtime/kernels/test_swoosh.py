"""The kernels of Swoosh against its body and its definition, on every instruction set."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from confpress.passes.operators.functions import define
from confpress.passes.operators.swoosh import swoosh_function, swoosh_node

from ...passes.quant_layers import run, session

LEFT = {"shift": 4.0, "slope": 0.08, "offset": 0.035}
RIGHT = {"shift": 1.0, "slope": 0.08, "offset": 0.313262}
#: Of values up to 100, in float32.
TOLERANCE = 1e-5


def made(numbers: dict[str, float], rank: int = 1) -> onnx.ModelProto:
    x = ir.val("x", ir.DataType.FLOAT, [f"d{i}" for i in range(rank)])
    node = swoosh_node(x, **numbers, name="swoosh")
    node.outputs[0].name = "y"
    graph = ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 17}, name="swoosh")
    model = ir.Model(graph, ir_version=8)
    define(model, swoosh_function())
    return ir.to_proto(model)


@pytest.mark.parametrize("numbers", [LEFT, RIGHT], ids=["left", "right"])
def test_kernel_is_its_body_and_its_definition(library: str, numbers: dict[str, float]) -> None:
    x = np.linspace(-120, 120, 10_007, dtype=np.float32)
    y, body = (run(session(made(numbers), each), x) for each in (library, None))
    exact = x.astype(np.float64)
    softplus = np.logaddexp(0, exact - numbers["shift"])
    expected = softplus - numbers["slope"] * exact - numbers["offset"]
    np.testing.assert_allclose(y, body, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 3, 17, 19), (1, 9000)])
def test_any_shape_and_threads(library: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape, np.float32) * 9
    model = made(LEFT, len(shape))
    y = run(session(model, library), x)
    assert y.shape == shape
    np.testing.assert_allclose(y, run(session(model), x), rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(run(session(model, library, threads=3), x), y)


def test_not_a_number_and_no_end(library: str) -> None:
    x = np.array([np.nan, -np.inf, 3e38, 1.0], np.float32)
    y = run(session(made(RIGHT), library), x)
    assert np.isnan(y[0])
    assert y[1] == np.inf
    assert y[2] == pytest.approx(0.92 * 3e38, rel=1e-6)
    assert np.isfinite(y[3])

"""Experts behind a gate: found in the spellings of exporters, computed alone, outputs kept."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.quantize import Quantize
from confpress.passes.rewrites.layers.route_experts import RouteExperts

from tests.passes.graphs import evaluate, operators, parse

RANDOM = np.random.default_rng(0)
D, UNITS, N = 48, 192, 40
ONE_HOT = "taken = OneHot <axis = -1> (choice, depth, values)  ones = Cast <to = 1> (taken)"
EQUAL = "c = Unsqueeze (choice, last)  taken = Equal (c, numbers)  ones = Cast <to = 1> (taken)"
SILU = "s = Sigmoid (a)  h = Mul (a, s)"
RELU_SCALED = "r = Relu (a)  h = Mul (r, of_units)"


def module(
    experts: int = 2, spelling: str = ONE_HOT, activation: str = SILU, bias: bool = True
) -> ir.Model:
    """A feed-forward module with a gate, as exporters write it."""
    weights = {
        "w1": RANDOM.standard_normal((D, UNITS)).astype(np.float32),
        "b1": RANDOM.standard_normal(UNITS).astype(np.float32),
        "g": RANDOM.standard_normal((D, experts)).astype(np.float32),
        "w2": RANDOM.standard_normal((UNITS, N)).astype(np.float32),
        "b2": RANDOM.standard_normal(N).astype(np.float32),
        "of_units": RANDOM.standard_normal(UNITS).astype(np.float32),
    }
    numbers = {
        "depth": np.array(experts),
        "values": np.array([0, 1]),
        "numbers2": np.array([1, 2]),
        "numbers": np.arange(experts),
        "last": np.array([-1]),
        "apart": np.array([0, 0, experts, UNITS // experts]),
        "together": np.array([0, 0, UNITS]),
    }
    constants = {**weights, **numbers}
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    net (float[b, t, {D}] x, {", ".join(f"{_type(a)} {n}" for n, a in constants.items())})
        => (float[b, t, {N}] y) {{
        p = MatMul (x, w1)  a = Add (p, b1)  {activation}
        scores = MatMul (x, g)  choice = ArgMax <axis = -1, keepdims = 0> (scores)
        {spelling}  mask = Unsqueeze (ones, last)
        parts = Reshape (h, apart)  gated = Mul (parts, mask)
        hidden = Reshape (gated, together)
        {"q = MatMul (hidden, w2)  y = Add (q, b2)" if bias else "y = MatMul (hidden, w2)"}
    }}"""
    model = parse(text, **constants)
    common.ShapeInferencePass()(model)
    return model


def _type(array: np.ndarray) -> str:
    kind = "float" if array.dtype == np.float32 else "int64"
    return f"{kind}[{','.join(map(str, array.shape))}]"


def frames(batch: int = 3, time: int = 7) -> dict[str, np.ndarray]:
    return {"x": RANDOM.standard_normal((batch, time, D)).astype(np.float32)}


@pytest.mark.parametrize("experts", [2, 4])
@pytest.mark.parametrize("spelling", [ONE_HOT, EQUAL], ids=["OneHot", "Equal"])
@pytest.mark.parametrize("activation", [SILU, RELU_SCALED], ids=["SiLU", "Relu"])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_stay(experts: int, spelling: str, activation: str, bias: bool) -> None:
    model = module(experts, spelling, activation, bias)
    inputs = frames()
    (expected,) = evaluate(model, inputs)
    (change,) = RouteExperts()(model).changes
    assert change.what == f"a frame computes one of {experts} experts"
    (found,) = evaluate(model, inputs)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # The gate's product and those of the experts, whose weights are parts.
    assert operators(model).count("MatMul") == 1 + 2 * experts
    assert "OneHot" not in operators(model)


@pytest.mark.parametrize(("batch", "time"), [(1, 1), (3, 2), (1, 64)])
def test_any_number_of_frames_runs(batch: int, time: int) -> None:
    model = module(4)
    inputs = frames(batch, time)
    (dense,) = evaluate(model, inputs)
    RouteExperts()(model)
    (routed,) = evaluate(model, inputs)
    assert routed.shape == (batch, time, N)
    np.testing.assert_allclose(routed, dense, atol=1e-4)


def test_an_expert_that_nothing_goes_through() -> None:
    model = module(2)
    inputs = frames()
    inputs["x"][...] = inputs["x"][:1, :1]
    (expected,) = evaluate(model, inputs)
    RouteExperts()(model)
    np.testing.assert_allclose(evaluate(model, inputs)[0], expected, atol=1e-4)
    # The layers in int8 for every frame, too, as they stand in the interchange model.
    model.opset_imports[""] = 21
    assert Quantize()(model).changes
    (found,) = evaluate(model, inputs)
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_gates_that_do_more_than_take_one_are_refused() -> None:
    model = module(spelling=ONE_HOT.replace("values", "numbers2"))
    result = RouteExperts()(model)
    assert not result.changes
    (refusal,) = result.refusals
    assert "in a trial the gate does something else than to take one" in refusal.reason


def test_hidden_units_without_an_activation_are_refused() -> None:
    result = RouteExperts()(module(activation="h = Softmax <axis = -1> (a)"))
    assert not result.changes
    (refusal,) = result.refusals
    assert "in front of the gate is no layer with an activation" in refusal.reason


def test_a_second_reader_of_the_hidden_units_stays() -> None:
    model = module()
    product = next(node for node in model.graph if node.op_type == "Reshape").inputs[0]
    assert product is not None
    model.graph.outputs.append(product)
    inputs = frames()
    expected = evaluate(model, inputs)
    RouteExperts()(model)
    for one, other in zip(evaluate(model, inputs), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_models_without_experts_are_left_alone() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["": 17]>
        net (float[t, 6] x, float[6, 5] w) => (float[t, 5] y) { y = MatMul (x, w) }""",
        w=RANDOM.standard_normal((6, 5)).astype(np.float32),
    )
    result = RouteExperts()(model)
    assert not result.changes
    assert not result.refusals

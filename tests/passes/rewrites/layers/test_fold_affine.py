"""Scales and shifts of features move into the linear layers behind them, or say why not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.base import run
from confpress.passes.rewrites.layers.fold_affine import FoldAffine
from onnx_ir.passes.common import ShapeInferencePass

from tests.passes.graphs import difference, operators, parse

SHAPES = {"s": (6,), "b": (1, 1, 6), "w": (6, 4), "c": (4,), "v": (6, 3), "q": (1, 6)}


def model(body: str, outputs: str = "float[n, t, 4] y") -> ir.Model:
    random = np.random.default_rng(1)
    arrays = {
        name: random.standard_normal(size).astype(np.float32) for name, size in SHAPES.items()
    }
    stored = ", ".join(f"float[{','.join(map(str, size))}] {name}" for name, size in SHAPES.items())
    made = parse(
        '<ir_version: 10, opset_import: ["": 21]> '
        f"g (float[n, t, 6] x, {stored}) => ({outputs}) {{ {body} }}",
        **arrays,
    )
    ShapeInferencePass()(made)
    return made


def feeds() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(2).standard_normal((2, 5, 6)).astype(np.float32)}


@pytest.mark.parametrize(
    ("body", "count", "left"),
    [
        ("m = Mul (x, s) a = Add (m, b) p = MatMul (a, w) y = Add (p, c)", 2, "MatMul Add"),
        ("m = Mul (q, x) a = Add (b, m) y = MatMul (a, w)", 2, "MatMul Add"),
        ("m = Mul (x, s) y = MatMul (m, w)", 1, "MatMul"),
        ("a = Add (x, b) p = MatMul (a, w) r = Add (c, p) y = Relu (r)", 1, "MatMul Add Relu"),
        ("r = Relu (x) m = Mul (r, s) a = Add (m, b) y = MatMul (a, w)", 2, "Relu MatMul Add"),
    ],
)
def test_a_layer_takes_them(body: str, count: int, left: str) -> None:
    changed, original = model(body), model(body)
    result = run([FoldAffine()], changed)
    assert len(result.changes) == count
    assert not result.refusals
    assert operators(changed) == left.split()
    assert difference(changed, original, feeds()) < 1e-5


def test_all_layers_that_read_it_take_it() -> None:
    body = "m = Mul (x, s) a = Add (m, b) y = MatMul (a, w) z = MatMul (a, v)"
    outputs = "float[n, t, 4] y, float[n, t, 3] z"
    changed, original = model(body, outputs), model(body, outputs)
    assert len(run([FoldAffine()], changed).changes) == 2
    assert sorted(operators(changed)) == ["Add", "Add", "MatMul", "MatMul"]
    assert [output.name for output in changed.graph.outputs] == ["y", "z"]
    assert difference(changed, original, feeds()) < 1e-5


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = Mul (x, s) p = MatMul (a, w) r = ReduceSum (a) y = Add (p, r)", "used by ReduceSum"),
        ("a = Mul (x, s) p = MatMul (a, w) r = MatMul (x, w) y = Add (p, r)", "used twice"),
    ],
)
def test_what_others_need_stays(body: str, reason: str) -> None:
    changed = model(body)
    (refusal,) = run([FoldAffine()], changed).refusals
    assert "scale of every feature stays" in refusal.reason
    assert reason in refusal.reason
    assert operators(changed) == operators(model(body))


def test_an_output_stays() -> None:
    body, outputs = "a = Mul (x, s) y = MatMul (a, w)", "float[n, t, 4] y, float[n, t, 6] a"
    changed = model(body, outputs)
    (refusal,) = run([FoldAffine()], changed).refusals
    assert "output of the model" in refusal.reason


@pytest.mark.parametrize(
    "body",
    [
        # The bias of a layer before another costs nothing.
        "p = MatMul (x, w) a = Add (p, c) t1 = Transpose <perm = [1, 0]> (w) r = MatMul (a, t1)"
        " y = MatMul (r, w)",
        # Stored numbers of every frame, and one number for all.
        "f = Constant <value_floats = [2.0]> () a = Mul (x, f) y = MatMul (a, w)",
        # The weight of a norm that is spelled out.
        "two = Constant <value = float {2.0}> () e = Constant <value = float {0.001}> ()"
        " axis = Constant <value_ints = [-1]> () p = Pow (x, two) u = ReduceMean (p, axis)"
        " k = Add (u, e) r = Sqrt (k) z = Div (x, r) a = Mul (z, s) y = MatMul (a, w)",
        # No linear layer.
        "m = Mul (x, s) r = Relu (m) y = MatMul (r, w)",
    ],
)
def test_others_are_not_looked_at(body: str) -> None:
    result = run([FoldAffine()], model(body))
    assert not result.changes
    assert not result.refusals


def test_sizes_are_asked_of_what_is_left() -> None:
    body = "a = Mul (x, s) p = MatMul (a, w) h = Shape (a) k = Cast <to = 1> (h)"
    body += " r = ReduceSum (k) y = Add (p, r)"
    changed, original = model(body), model(body)
    assert len(run([FoldAffine()], changed).changes) == 1
    assert "Mul" not in operators(changed)
    assert difference(changed, original, feeds()) < 1e-5

from __future__ import annotations

import pytest
from confpress.passes.structure.activations import find_activation, fusible_activation

from .graphs import D, make

WEIGHTS = {"one": 1.0, "half": 0.5, "root": 1.4142135, "inverse": 0.70710677, "w": (D, D)}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("silu", "g = Sigmoid (x)  y = Mul (x, g)"),
        ("silu", "g = Sigmoid (x)  y = Mul (g, x)"),
        ("silu", "y = Swish (x)"),
        ("relu", "y = Relu (x)"),
        ("gelu", "y = Gelu (x)"),
        ("gelu", "d = Div (x, root)  e = Erf (d)  p = Add (e, one)  m = Mul (x, p)"
                 "  y = Mul (m, half)"),
        ("gelu", "d = Mul (x, inverse)  e = Erf (d)  p = Add (one, e)  h = Mul (half, x)"
                 "  y = Mul (p, h)"),
        ("gelu_tanh", 'y = Gelu <approximate = "tanh"> (x)'),
        ("quick_gelu", "y = com.microsoft.QuickGelu (x)"),
        ("silu", "y = com.microsoft.QuickGelu <alpha = 1.0> (x)"),
        ("hard_swish", "y = HardSwish (x)"),
    ],
)  # fmt: skip
def test_spellings(name: str, body: str) -> None:
    model = make(body, WEIGHTS, opset=20, infer=False)
    found = find_activation(model.graph.inputs[0])
    assert found is not None
    assert found.name == name
    assert found.output.name == "y"
    assert set(found.nodes) == set(model.graph)


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("the gate is used elsewhere", "g = Sigmoid (x)  a = Mul (x, g)  y = Add (a, g)"),
        ("the sigmoid alone", "y = Sigmoid (x)"),
        ("a third user", "g = Sigmoid (x)  a = Mul (x, g)  b = Relu (x)  y = Add (a, b)"),
        ("the gate of another value", "z = Neg (x)  g = Sigmoid (z)  a = Mul (x, g)  y = Neg (a)"),
        ("a product without erf", "a = Mul (x, half)  b = Add (x, one)  y = Mul (a, b)"),
        ("another root", "d = Mul (x, half)  e = Erf (d)  p = Add (e, one)  m = Mul (x, p)"
                         "  y = Mul (m, half)"),
        ("twice GELU", "d = Div (x, root)  e = Erf (d)  p = Add (e, one)  y = Mul (x, p)"),
        ("a quotient by x", "d = Div (root, x)  e = Erf (d)  p = Add (e, one)  m = Mul (x, p)"
                            "  y = Mul (m, half)"),
        ("a bias inside", "y = com.microsoft.FastGelu (x, one)"),
        ("a layer", "y = MatMul (x, w)"),
    ],
)  # fmt: skip
def test_what_is_none(what: str, body: str) -> None:
    assert find_activation(make(body, WEIGHTS).graph.inputs[0]) is None, what


@pytest.mark.parametrize(
    ("body", "fusible"),
    [
        ("y = Relu (x)", True),
        ("y = Sigmoid (x)", True),
        ("g = Sigmoid (x)  y = Mul (x, g)", True),
        ("y = Elu (x)", False),
        ("r = Relu (x)  s = Shape (x)  y = Reshape (r, s)", False),
        ("g = Sigmoid (x)  s = Shape (g)  m = Mul (x, g)  y = Reshape (m, s)", False),
    ],
)
def test_fusible_ones_are_all_that_reads_the_value(body: str, fusible: bool) -> None:
    value = make(body, WEIGHTS, opset=20, infer=False).graph.inputs[0]
    found = fusible_activation(value, ("silu", "relu", "sigmoid"))
    assert (found is not None) is fusible

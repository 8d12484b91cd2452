"""Keras' layer normalisation becomes one operator, and what only resembles it stays."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.rewrites.layers.keras_norm import KerasNorm

from tests.passes.graphs import difference, operators, parse

NORM = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 6] x, float[1, 1, 6] gamma, float[1, 1, 6] beta) => (float[b, t, 6] y)
{{
  eps = Constant <value_float = 0.001> ()
  mean = GlobalAveragePool (x)
  less = Neg (mean)
  centred = Sub (x, mean)
  squares = Mul ({squared}, {squared})
  variance = GlobalAveragePool (squares)
  more = Add (variance, eps)
  root = Sqrt (more)
  inverse = Reciprocal (root)
  scale = Mul (inverse, gamma)
  scaled = Mul (x, scale)
  shift = Mul (less, scale)
  rest = Add (shift, beta)
  y = Add (scaled, rest)
}}"""


def build(squared: str = "centred") -> ir.Model:
    random = np.random.default_rng(0)
    weights = {
        name: random.standard_normal((1, 1, 6)).astype(np.float32) for name in ("gamma", "beta")
    }
    return parse(NORM.format(squared=squared), **weights)


def test_one_operator() -> None:
    original, model = build(), build()
    assert [change.what for change in KerasNorm()(model).changes] == ["norm in one operator"]
    assert operators(model) == ["LayerNormalization"]
    x = np.random.default_rng(1).standard_normal((2, 5, 6)).astype(np.float32)
    assert difference(model, original, {"x": x}) < 1e-5


@pytest.mark.parametrize("squared", ["x", "less"])
def test_another_variance_stays(squared: str) -> None:
    model = build(squared)
    assert not KerasNorm()(model).modified
    assert "Reciprocal" in operators(model)

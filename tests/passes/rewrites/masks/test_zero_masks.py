"""Masks become factors where that is less work, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from confpress.passes.base import run
from confpress.passes.rewrites.masks.zero_masks import ZeroMasks
from onnx_ir.passes.common import ShapeInferencePass

from ...graphs import evaluate, operators, parse

HEADER = '<ir_version: 10, opset_import: ["": 18]>\n'
X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
MASK = np.array([[[False], [True], [True]], [[True], [False], [True]]])


@pytest.mark.parametrize("masked", ["Where (m, zero, x)", "Where (m, x, zero)"])
def test_a_mask_of_rows_becomes_a_factor(masked: str) -> None:
    model = parse(
        f"""{HEADER} g (float[2, 3, 4] x, bool[2, 3, 1] m) => (float[2, 3, 4] y, float[2, 3, 4] z)
        <float zero = {{0.0}}> {{ a = {masked}
                                  y = Relu (a)
                                  z = {masked} }}"""
    )
    expected = evaluate(model, {"x": X, "m": MASK})
    result = run([ZeroMasks()], model)
    assert len(result.changes) == 2
    assert operators(model).count("Cast") == 1  # one factor for both
    assert "Where" not in operators(model)
    for got, wanted in zip(evaluate(model, {"x": X, "m": MASK}), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("shape", "zero", "kind"),
    [
        ("2, 3, 4", "float zero = {0.0}", "float"),  # as many elements as the value
        ("2, 3, 1", "float zero = {1.0}", "float"),  # writes something else
        ("2, 3, 1", "float[1, 1, 1, 1] zero = {0.0}", "float"),  # gives the result another rank
        ("2, 3, 1", "int32 zero = {0}", "int32"),
    ],
)
def test_other_choices_stay(shape: str, zero: str, kind: str) -> None:
    model = parse(
        f"{HEADER} g ({kind}[2, 3, 4] x, bool[{shape}] m) => ({kind}[a, b, c] y) "
        f"<{zero}> {{ y = Where (m, zero, x) }}"
    )
    assert not run([ZeroMasks()], model).changes
    assert operators(model) == ["Where"]


@pytest.mark.parametrize("read", ["p", "c"], ids=["probabilities", "context"])
def test_rows_of_infinite_scores_are_chosen_away(read: str) -> None:
    """As icefall and WeNet mask: the Softmax of a row of nothing else is NaN."""
    model = parse(
        f"""{HEADER} g (float[1, 2, 3, 3] s, float[1, 2, 3, 3] v, bool[1, 1, 3, 3] m, float far,
                        float zero) => (float[1, 2, 3, 3] y)
        {{ f = Where (m, far, s)
           p = Softmax (f)
           c = MatMul (p, v)
           y = Where (m, zero, {read}) }}""",
        far=np.array(-np.inf, np.float32),
        zero=np.array(0, np.float32),
    )
    model = ShapeInferencePass()(model).model
    s = np.random.default_rng(1).standard_normal((1, 2, 3, 3)).astype(np.float32)
    mask = np.zeros((1, 1, 3, 3), bool)
    mask[0, 0, 2] = True
    (expected,) = evaluate(model, feeds := {"s": s, "v": s, "m": mask})
    (refusal,) = run([ZeroMasks()], model).refusals
    assert "infinite" in refusal.reason
    np.testing.assert_array_equal(evaluate(model, feeds)[0], expected)

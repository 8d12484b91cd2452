"""The choice of formats by error: what an error is, and that the least one is taken."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.format_choice import (
    LayerInputs,
    approximated,
    format_errors,
    mofq,
    rounded_inputs,
)
from confpress.passes.format_plan import LayerFormat

from tests.passes.graphs import parse

RANDOM = np.random.default_rng(0)
INT4, FP4 = (LayerFormat(weight=name, block=32) for name in ("int4", "fp4"))
X = RANDOM.standard_normal((400, 64)).astype(np.float32) * np.geomspace(
    0.1, 10, 64, dtype=np.float32
)
SEEN = {"x": LayerInputs(np.square(X, dtype=np.float64).mean(axis=0), X)}


def model(weight: np.ndarray) -> ir.Model:
    made = parse(
        """
    <ir_version: 10, opset_import: ["": 21]>
    net (float[b, 64] x, float[64, 48] w) => (float[b, 48] y) { y = MatMul (x, w) }""",
        w=weight.astype(np.float32),
    )
    next(iter(made.graph)).name = "layer"
    return made


def test_uniform_weights_get_integers_and_long_tails_get_floats() -> None:
    for weight, expected in (
        (RANDOM.uniform(-1, 1, (64, 48)), INT4),
        (RANDOM.standard_t(3, (64, 48)), FP4),
    ):
        for criterion in ("plain", "weighted", "output"):
            errors = format_errors(model(weight), (INT4, FP4), SEEN, criterion)  # type: ignore[arg-type]
            assert mofq(errors, (INT4, FP4)).layers == {"layer": expected}


def test_errors_are_what_they_are_said_to_be() -> None:
    weight = RANDOM.standard_normal((64, 48)).astype(np.float32)
    both = LayerFormat(weight="fp8", activations="fp8")
    (plain,) = format_errors(model(weight), (INT4,), {}, "plain")
    (weighted,) = format_errors(model(weight), (INT4,), SEEN, "weighted")
    (output,) = format_errors(model(weight), (INT4, both), SEEN, "output")
    difference = approximated(weight, INT4).astype(np.float64) - weight
    assert plain.errors[0] == pytest.approx(np.square(difference).sum(), rel=1e-4)
    loud = np.square(X, dtype=np.float64).mean(axis=0) @ np.square(difference)
    assert weighted.errors[0] == pytest.approx(loud.sum(), rel=1e-4)
    assert output.errors[0] == pytest.approx(np.square(X @ difference).sum(), rel=1e-3)
    quantised = rounded_inputs(X, "fp8") @ approximated(weight, both)
    exact = X.astype(np.float64) @ weight
    assert output.errors[1] == pytest.approx(np.square(quantised - exact).sum(), rel=1e-3)
    assert output.energy == pytest.approx(np.square(exact).sum(), rel=1e-4)


def test_quiet_inputs_do_not_decide() -> None:
    """Long tails where inputs are quiet: blind to inputs, floats look better than they are."""
    weight = RANDOM.uniform(-1, 1, (64, 48))
    weight[:32] = RANDOM.standard_t(3, (32, 48))
    found = {
        criterion: mofq(
            format_errors(model(weight), (INT4, FP4), SEEN, criterion),  # type: ignore[arg-type]
            (INT4, FP4),
        ).layers["layer"]
        for criterion in ("plain", "weighted", "output")
    }
    assert found == {"plain": FP4, "weighted": INT4, "output": INT4}


def test_ties_go_to_the_first() -> None:
    errors = format_errors(model(np.zeros((64, 48))), (INT4, FP4), SEEN, "weighted")
    assert mofq(errors, (INT4, FP4)).layers == {"layer": INT4}


def test_what_was_not_seen_is_named() -> None:
    with pytest.raises(ConfpressError, match="not seen the input of layer"):
        format_errors(model(RANDOM.standard_normal((64, 48))), (INT4,), {}, "weighted")

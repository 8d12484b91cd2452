"""Convolution modules in one operator: what it computes and what is left alone."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.fuse.convolution import FuseConvModule

from ..graphs import Arrays, evaluate, operators, parse

WIDTH = 6
TAPS = 5

GRAPH = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 6] x, bool[b, 1, m] mask, float[6] norm_weight, float[6] norm_bias,
     float[6, 12] w_in, float[12] b_in, float[6, 1, 5] filters, float[6] bias, float[6, 6] w_out)
  => (float[b, t, 6] y)
{{
  n = LayerNormalization (x, norm_weight, norm_bias)
  back = Constant <value_ints = [0, 4, 0, 0, 0, 0]> ()
  begun = {front}
  product = MatMul (begun, w_in)
  both = Add (product, b_in)
  turned = Transpose <perm = [0, 2, 1]> (both)
  left, right = Split <axis = 1, num_outputs = 2> (turned)
  {gate}
  zero = Constant <value_float = {fill}> ()
  sizes = Shape (gated)
  wide = Expand (mask, sizes)
  cleared = Where ({mask}, {cleared})
  convolved = Conv <group = 6, pads = {pads}> (cleared, filters, bias)
  {activation}
  frames = Transpose <perm = [0, 2, 1]> (active)
  out = MatMul (frames, w_out)
  y = Add (x, out)
}}"""

SILU = "share = Sigmoid (convolved) active = Mul (share, convolved)"
NONE = "active = Identity (convolved)"
SECOND_HALF = "open = Sigmoid (right) gated = Mul (left, open)"
FIRST_HALF = "open = Sigmoid (left) gated = Mul (open, right)"


def _model(
    gate: str = SECOND_HALF,
    activation: str = SILU,
    pads: str = "[2, 2]",
    cleared: str = "zero, gated",
    fill: str = "0.0",
    front: str = "Identity (n)",
    mask: str = "mask",
) -> ir.Model:
    generator = np.random.default_rng(0)
    text = GRAPH.format(
        gate=gate,
        activation=activation,
        pads=pads,
        cleared=cleared,
        fill=fill,
        front=front,
        mask=mask,
    )
    model = parse(
        text,
        norm_weight=np.ones(WIDTH, np.float32),
        norm_bias=np.zeros(WIDTH, np.float32),
        w_in=generator.standard_normal((WIDTH, 2 * WIDTH), np.float32),
        b_in=generator.standard_normal(2 * WIDTH, np.float32),
        filters=generator.standard_normal((WIDTH, 1, TAPS), np.float32),
        bias=generator.standard_normal(WIDTH, np.float32),
        w_out=generator.standard_normal((WIDTH, WIDTH), np.float32),
    )
    ir.passes.common.IdentityEliminationPass()(model)
    ir.passes.common.RemoveUnusedNodesPass()(model)
    return model


def _feeds(batch: int, frames: int) -> Arrays:
    generator = np.random.default_rng(1)
    return {
        "x": generator.standard_normal((batch, frames, WIDTH), np.float32),
        "mask": generator.random((batch, 1, frames)) < 0.3,
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gate": FIRST_HALF},
        {"pads": "[4, 0]"},
        {"cleared": "gated, zero"},
        {"activation": NONE},
        {"mask": "wide"},
    ],
)
def test_same_outputs_in_one_operator(options: dict[str, str]) -> None:
    original, model = _model(**options), _model(**options)
    result = FuseConvModule()(model)
    assert [change.where for change in result.changes] == ["encoder.layers.0.conv"]
    expected = "ConvModule" if options.get("activation") == NONE else "ConvModuleSiLU"
    assert operators(model).count(expected) == 1
    assert not {"Conv", "Transpose", "Split"} & set(operators(model))
    for batch, frames in ((1, 1), (2, 7), (1, 40)):
        feeds = _feeds(batch, frames)
        (wanted,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
        np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-4)


def test_frames_may_be_put_in_front_of_the_first_layer() -> None:
    options = {"front": "Pad (n, back)", "pads": "[0, 0]"}
    original, model = _model(**options), _model(**options)
    assert len(FuseConvModule()(model).changes) == 1
    feeds = {"x": _feeds(2, 7)["x"], "mask": _feeds(2, 7 + TAPS - 1)["mask"]}
    (wanted,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"activation": "active = Tanh (convolved)"}, "follows Tanh"),
        ({"fill": "1.0"}, "something else than zeros"),
        (
            {"gate": "open = Tanh (right) gated = Mul (left, open)"},
            "differs from the operator by",
        ),
        ({"gate": "half = Relu (right) gated = Mul (left, half)"}, "differs from the operator by"),
    ],
)
def test_others_are_refused_with_a_reason(options: dict[str, str], reason: str) -> None:
    model = _model(**options)
    result = FuseConvModule()(model)
    assert not result.modified
    (refusal,) = result.refusals
    assert refusal.where == "encoder.layers.0.conv"
    assert reason in refusal.reason

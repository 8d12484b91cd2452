"""Norms in every spelling, and what only looks like one."""

from __future__ import annotations

import re

import pytest
from confpress.passes.structure.norms import find_norms

from .graphs import D, make

CENTRED = "m = ReduceMean <keepdims = 1> (x, axes)  c = Sub (x, m)\n"
SQUARES = {
    "pow": "q = Pow (c, two)\n",
    "product": "q = Mul (c, c)\n",
}
VARIANCE = "v = ReduceMean <keepdims = 1> (q, axes)  e = Add (v, eps)\n"
QUOTIENTS = {
    "div": "r = Sqrt (e)  z = Div (c, r)\n",
    "reciprocal": "r = Sqrt (e)  i = Reciprocal (r)  z = Mul (c, i)\n",
    "one over": "r = Sqrt (e)  i = Div (one, r)  z = Mul (i, c)\n",
    "negative power": "i = Pow (e, minus_half)  z = Mul (c, i)\n",
    "power": "r = Pow (e, point_five)  z = Div (c, r)\n",
}
AFFINE = "w = Mul (g, z)  y = Add (w, s)\n"
WEIGHTS = {
    "axes": [-1], "two": 2.0, "eps": 1e-5, "one": 1.0, "minus_half": -0.5, "point_five": 0.5,
    "g": (D,), "s": (D,),
}  # fmt: skip


@pytest.mark.parametrize("quotient", QUOTIENTS)
@pytest.mark.parametrize("square", SQUARES)
def test_layer_norm_spelled_out(square: str, quotient: str) -> None:
    body = CENTRED + SQUARES[square] + VARIANCE + QUOTIENTS[quotient] + AFFINE
    (norm,) = find_norms(make(body, WEIGHTS).graph)
    assert norm.type == "layer"
    assert norm.input.name == "x"
    assert norm.output.name == "y"
    assert norm.weight is not None
    assert norm.weight.name == "g"
    assert norm.bias is not None
    assert norm.bias.name == "s"
    assert [n.op_type for n in norm.nodes][:2] == ["ReduceMean", "Sub"]


@pytest.mark.parametrize("quotient", QUOTIENTS)
def test_rms_norm_spelled_out(quotient: str) -> None:
    body = SQUARES["pow"] + VARIANCE + QUOTIENTS[quotient] + "y = Mul (z, g)"
    (norm,) = find_norms(make(re.sub(r"\bc\b", "x", body), WEIGHTS).graph)
    assert norm.type == "rms"
    assert norm.input.name == "x"
    assert norm.weight is not None
    assert norm.bias is None


def test_layer_norm_of_opset_13_has_its_axes_in_attributes() -> None:
    body = (CENTRED + SQUARES["pow"] + VARIANCE + QUOTIENTS["div"] + AFFINE).replace(
        "<keepdims = 1> (x, axes)", "<keepdims = 1, axes = [-1]> (x)"
    )
    body = body.replace("<keepdims = 1> (q, axes)", "<keepdims = 1, axes = [-1]> (q)")
    (norm,) = find_norms(make(body, WEIGHTS, opset=13).graph)
    assert len(norm.nodes) == 9


@pytest.mark.parametrize(
    ("op_type", "body", "opset"),
    [
        ("layer", "y = LayerNormalization <axis = -1> (x, g, s)", 17),
        ("rms", "y = RMSNormalization <axis = -1> (x, g)", 23),
        ("rms", "y = SimplifiedLayerNormalization <axis = -1> (x, g)", 17),
        ("instance", "y = InstanceNormalization (x, g, s)", 17),
    ],
)
def test_single_nodes(op_type: str, body: str, opset: int) -> None:
    (norm,) = find_norms(make(body, WEIGHTS, opset=opset, infer=False).graph)
    assert norm.type == op_type
    assert norm.weight is not None


def test_a_scale_that_follows_is_not_the_norms_weight() -> None:
    body = "z = LayerNormalization <axis = -1> (x, g, s)  y = Mul (z, two)"
    (norm,) = find_norms(make(body, WEIGHTS).graph)
    assert norm.output.name == "z"
    spelled = CENTRED + SQUARES["pow"] + VARIANCE + QUOTIENTS["div"] + "y = Mul (z, two)"
    (norm,) = find_norms(make(spelled, WEIGHTS).graph)
    assert norm.output.name == "z"
    assert norm.weight is None


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("another value is divided", CENTRED + SQUARES["pow"] + VARIANCE
         + "r = Sqrt (e)  y = Div (x, r)"),
        ("no epsilon", CENTRED + SQUARES["pow"]
         + "v = ReduceMean <keepdims = 1> (q, axes)  r = Sqrt (v)  y = Div (c, r)"),
        ("the cube", CENTRED + "q = Pow (c, eps)\n" + VARIANCE + "r = Sqrt (e)  y = Div (c, r)"),
        ("the root divides", CENTRED + SQUARES["pow"] + VARIANCE + "r = Sqrt (e)  y = Div (r, c)"),
        ("a mean alone", "m = ReduceMean <keepdims = 1> (x, axes)  y = Sub (x, m)"),
    ],
)  # fmt: skip
def test_what_only_looks_like_a_norm(what: str, body: str) -> None:
    assert find_norms(make(body, WEIGHTS).graph) == (), what

"""Feed-forward modules in every spelling, and why others are refused."""

from __future__ import annotations

import pytest
from confpress.passes.structure import Kind, Module, recognise

from .graphs import (
    FEED_FORWARD,
    FEED_FORWARD_WEIGHTS,
    UNITS,
    D,
    chain,
    make,
    reasons,
    recognise_one,
    replaced,
)

WEIGHTS = FEED_FORWARD_WEIGHTS | {
    "wide": (D, 2 * UNITS), "up": (D, UNITS), "extra": (UNITS, UNITS), "k1": (UNITS, D, 3),
    "k2": (D, UNITS, 1), "one": 1.0, "mask": (UNITS,), "gu": (UNITS,), "su": (UNITS,),
    "narrow": (UNITS // 2, D), "sixth": (6, D), "thirds": [6, 12, 6],
}  # fmt: skip


def one(*pairs: tuple[str, str]) -> Module:
    return recognise_one(make(replaced(FEED_FORWARD, *pairs), WEIGHTS))


def test_a_half_step() -> None:
    module = one()
    assert module.kind is Kind.FEED_FORWARD
    assert module.id == "encoder.layers.0.feed_forward"
    assert module.feed_forward.units == UNITS
    assert module.feed_forward.activation == "silu"
    assert not module.feed_forward.gated
    assert module.scale == 0.5
    assert module.norm is not None
    assert [layer.id.rpartition(".")[2] for layer in module.linears] == ["linear1", "linear2"]
    assert all(layer.bias is not None for layer in module.linears)
    assert module.input is not None
    assert (module.input.name, module.output.name) == ("x", "y")
    assert len(module.nodes) == 9


@pytest.mark.parametrize(
    ("activation", "pairs"),
    [
        ("relu", [("gate = Sigmoid (h)", ""), ("a = Mul (h, gate)", "a = Relu (h)")]),
        ("silu", [("h = Add (b1, p1)", ""), ("(h)", "(p1)"), ("Mul (h, gate)", "Mul (gate, p1)")]),
        ("silu", [("a = Mul (h, gate)", "e = Mul (h, gate)  a = Mul (mask, e)")]),
        ("silu", [("a = Mul (h, gate)",
                   "e = Mul (h, gate)  a = LayerNormalization <axis = -1> (e, gu, su)")]),
        ("Sub · Sigmoid · Mul", [("gate = Sigmoid (h)", "m = Sub (h, one)  gate = Sigmoid (m)")]),
    ],
)  # fmt: skip
def test_activations(activation: str, pairs: list[tuple[str, str]]) -> None:
    module = one(*pairs)
    assert module.feed_forward.activation == activation
    assert module.feed_forward.units == UNITS


def test_one_packed_layer_with_a_gate() -> None:
    module = one(
        ("MatMul (n, w1)", "MatMul (n, wide)"),
        ("h = Add (b1, p1)", "h, u = Split <axis = -1, num_outputs = 2> (p1)"),
        ("a = Mul (h, gate)", "e = Mul (h, gate)  a = Mul (u, e)"),
    )
    assert module.feed_forward.gated
    assert module.feed_forward.units == UNITS
    assert module.feed_forward.activation == "silu"


def test_gate_and_up_in_two_layers() -> None:
    module = one(
        ("a = Mul (h, gate)", "e = Mul (h, gate)  u = MatMul (n, up)  a = Mul (u, e)"),
    )
    assert module.feed_forward.gated
    roles = {layer.weight.name: layer.id.rpartition(".")[2] for layer in module.linears}
    assert roles == {"w1": "linear_gate", "up": "linear1", "w2": "linear2"}


def test_convolutions_over_frames() -> None:
    body = """
      t = Transpose <perm = [0, 2, 1]> (x)
      c1 = Conv <pads = [1, 1]> (t, k1)
      a = Relu (c1)
      c2 = Conv (a, k2)
      o = Transpose <perm = [0, 2, 1]> (c2)
      y = Add (x, o)
    """
    module = recognise_one(make(body, WEIGHTS))
    assert module.kind is Kind.FEED_FORWARD
    assert module.feed_forward.units == UNITS
    assert module.norm is None


def test_a_module_without_norm_or_scale() -> None:
    body = replaced(
        FEED_FORWARD,
        ("n = LayerNormalization <axis = -1> (x, g, s)", ""),
        ("MatMul (n, w1)", "MatMul (x, w1)"),
        ("branch = Mul (o, half)", ""),
        ("Add (x, branch)", "Add (o, x)"),
    )
    module = recognise_one(make(body, WEIGHTS))
    assert module.norm is None
    assert module.scale == 1


@pytest.mark.parametrize(
    ("reason", "pairs"),
    [
        ("or three with a gate; here are 1",
         [("p2 = MatMul (a, w2)", "p2 = ReduceMean <keepdims = 1> (a)")]),
        ("or three with a gate; here are 4",
         [("a = Mul (h, gate)",
           "e = Mul (h, gate)  f = MatMul (e, extra)  a = MatMul (f, extra)")]),
        ("between its layers stands ReduceMax",
         [("a = Mul (h, gate)",
           "e = Mul (h, gate)  top = ReduceMax <keepdims = 1> (h)  a = Mul (e, top)")]),
        ("its last layer also reads the stream itself",
         [("a = Mul (h, gate)", "e = Mul (h, gate)  f = Concat <axis = -1> (x, x, x)"
                                "  a = Add (e, f)")]),
        ("no product of one half with a non-linearity of the other",
         [("p2 = MatMul (a, w2)",
           "a1, a2, a3 = Split <axis = -1> (a, thirds)  p2 = MatMul (a2, narrow)")]),
        ("put out 24 features and the last takes 6",
         [("p2 = MatMul (a, w2)",
           "a1, a2, a3 = Split <axis = -1> (a, thirds)  p2 = MatMul (a1, sixth)")]),
    ],
)  # fmt: skip
def test_refusals_say_why(reason: str, pairs: list[tuple[str, str]]) -> None:
    model = make(replaced(FEED_FORWARD, *pairs), WEIGHTS, infer=False)
    assert reason in reasons(model)
    assert recognise(model).modules == ()


def test_an_unknown_branch_between_known_modules_keeps_its_place() -> None:
    unknown = replaced(FEED_FORWARD, ("p2 = MatMul (a, w2)", "p2 = ReduceMean <keepdims = 1> (a)"))
    structure = recognise(make(chain(FEED_FORWARD, unknown, FEED_FORWARD), WEIGHTS, infer=False))
    kinds = [m.kind for m in structure.modules]
    assert kinds == [Kind.FEED_FORWARD, Kind.OTHER, Kind.FEED_FORWARD]
    (miss,) = structure.near_misses
    assert miss.where == structure.modules[1].id
    assert structure.modules[1].residual_add is not None
